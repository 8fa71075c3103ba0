-- Texts with an area and subarea that a client or a person chose, of the year before an instant: the newest of each
-- client in each subarea, so that nobody teaches alone, and at most `cap` of a subarea. Nobody teaches who was erased.
WITH chosen AS (
    SELECT DISTINCT ON (c.area, c.subarea, c.client_id) c.id, c.area, c.subarea, c.created_at
    FROM cases c
    LEFT JOIN litgo.triage t ON t.case_id = c.id
    WHERE litgo.chosen(c.area) IS NOT NULL AND litgo.chosen(c.subarea) IS NOT NULL
      AND c.created_at < %(as_of)s AND c.created_at >= %(as_of)s::timestamptz - interval '365 days'
      AND coalesce(t.sources ->> 'area', 'client') IN ('client', 'person')
      AND coalesce(t.sources ->> 'subarea', 'client') IN ('client', 'person')
      AND NOT EXISTS (SELECT FROM litgo.tombstones s WHERE s.digest = litgo.subject_digest(c.client_id))
    ORDER BY c.area, c.subarea, c.client_id, c.created_at DESC, c.id
), capped AS (
    SELECT id, area, subarea, row_number() OVER (PARTITION BY area, subarea ORDER BY created_at DESC, id) AS place
    FROM chosen
)
SELECT p.area, p.subarea, left(c.title, %(longest)s), left(c.description, %(longest)s)
FROM capped p JOIN cases c USING (id)
WHERE p.place <= %(cap)s
ORDER BY p.area, p.subarea, p.place
