-- Vectors, stems and marks, older than their term, of texts that no case waits with and no lawyer is known by. Not while
-- the marketplace shows less than half of its rows: seeing nothing is not being nothing.
WITH compared AS MATERIALIZED (
    SELECT DISTINCT text_hash FROM ({sources}) s
), whole AS MATERIALIZED (
    SELECT (SELECT count(*) FROM cases) * 2
           >= coalesce((SELECT rows FROM litgo.source_counts WHERE table_name = 'cases'), 0)
       AND (SELECT count(*) FROM lawyers) * 2
           >= coalesce((SELECT rows FROM litgo.source_counts WHERE table_name = 'lawyers'), 0) AS shown
), old AS MATERIALIZED (
    SELECT e.text_hash, e.model, e.dimension FROM litgo.text_embeddings e
    WHERE e.as_of < %(before)s AND (SELECT shown FROM whole)
      AND NOT EXISTS (SELECT FROM compared c WHERE c.text_hash = e.text_hash)
    LIMIT %(batch)s
), vectors AS (
    DELETE FROM litgo.text_embeddings e USING old o
    WHERE e.text_hash = o.text_hash AND e.model = o.model AND e.dimension = o.dimension
    RETURNING e.text_hash
), stems AS (
    DELETE FROM litgo.text_stems t USING (SELECT DISTINCT text_hash FROM vectors) v WHERE t.text_hash = v.text_hash
), refused AS (
    DELETE FROM litgo.unembeddable_texts u
    WHERE u.as_of < %(before)s AND (SELECT shown FROM whole)
      AND NOT EXISTS (SELECT FROM compared c WHERE c.text_hash = u.text_hash)
), withheld AS (
    DELETE FROM litgo.withheld_texts w
    WHERE w.as_of < %(before)s AND (SELECT shown FROM whole)
      AND NOT EXISTS (SELECT FROM compared c WHERE c.text_hash = w.text_hash)
)
SELECT FROM vectors
