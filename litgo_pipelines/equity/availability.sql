-- Availability as it is seen at an instant: stretches end and begin. An instant before the newest one seen changes nothing.
WITH open_cases AS (
{open_cases}),
lawyer AS MATERIALIZED (  -- each column once: another marketplace may look it up elsewhere, row by row
    SELECT id, created_at, is_available, active, leave_from, leave_until, max_concurrent_cases FROM lawyers
),
now_free AS MATERIALIZED (
    SELECT l.id FROM lawyer l LEFT JOIN open_cases p ON p.lawyer_id = l.id
    WHERE {available}
),
ended AS (
    UPDATE litgo.lawyer_availability a SET valid_to = %(as_of)s
    WHERE a.valid_to IS NULL AND a.valid_from <= %(as_of)s AND NOT EXISTS (SELECT FROM now_free f WHERE f.id = a.lawyer_id)
),
begun AS (
    INSERT INTO litgo.lawyer_availability (lawyer_id, valid_from)
    SELECT f.id, %(as_of)s FROM now_free f
    WHERE NOT EXISTS (SELECT FROM litgo.lawyer_availability a WHERE a.lawyer_id = f.id AND a.valid_to IS NULL)
      AND NOT EXISTS (SELECT FROM litgo.lawyer_availability a WHERE a.lawyer_id = f.id AND a.valid_to > %(as_of)s)
    ON CONFLICT DO NOTHING
    RETURNING lawyer_id
)
SELECT count(*) FROM begun
