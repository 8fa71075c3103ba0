-- Vectors, stems and marks of texts that nobody has any more, older than an instant.
WITH present AS MATERIALIZED (
    SELECT DISTINCT text_hash FROM ({texts}) s
), vectors AS (
    DELETE FROM litgo.text_embeddings e
    WHERE e.as_of < %(before)s AND NOT EXISTS (SELECT FROM present p WHERE p.text_hash = e.text_hash)
    RETURNING e.text_hash
), stems AS (
    DELETE FROM litgo.text_stems t USING (SELECT DISTINCT text_hash FROM vectors) v WHERE t.text_hash = v.text_hash
    RETURNING 1
), refused AS (
    DELETE FROM litgo.unembeddable_texts u
    WHERE u.as_of < %(before)s AND NOT EXISTS (SELECT FROM present p WHERE p.text_hash = u.text_hash)
    RETURNING 1
), withheld AS (
    DELETE FROM litgo.withheld_texts w
    WHERE w.as_of < %(before)s AND NOT EXISTS (SELECT FROM present p WHERE p.text_hash = w.text_hash)
    RETURNING 1
)
SELECT (SELECT count(*) FROM vectors) + (SELECT count(*) FROM stems) + (SELECT count(*) FROM refused)
       + (SELECT count(*) FROM withheld)
