WITH known AS MATERIALIZED (
    SELECT id FROM ({union}) k
    WHERE id IS NOT NULL AND id::text <> ALL(%(ours)s)
),
erased AS (SELECT digest FROM litgo.tombstones)
SELECT
    (SELECT count(*) FROM known),
    array(
        SELECT k.id::text FROM known k
        WHERE NOT EXISTS (SELECT FROM ({shown}) s WHERE s.id = k.id)
          AND NOT EXISTS (SELECT FROM erased e WHERE e.digest = litgo.subject_digest(k.id))
    )
