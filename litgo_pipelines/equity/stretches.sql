-- Who could not be offered a case during the whole of the window before the instant, with when they could: one row per
-- stretch, one without instants for who never could. Who is not listed was there all the time.
-- Before the first instant that was recorded, since when the lawyer is registered and the leave say it.
WITH known AS MATERIALIZED (
    SELECT coalesce((SELECT min(valid_from) FROM litgo.lawyer_availability), 'infinity') AS since,
           %(as_of)s::timestamptz - %(days)s * interval '24 hours' AS starts, %(as_of)s::timestamptz AS ends
),
here AS MATERIALIZED (  -- each column once: another marketplace may look it up elsewhere, row by row
    SELECT id, litgo.joined(created_at) AS joined, leave_from, leave_until FROM lawyers
),
always AS (
    SELECT l.id
    FROM known k CROSS JOIN here l
    LEFT JOIN litgo.lawyer_availability a ON a.lawyer_id = l.id AND a.valid_from <= GREATEST(k.starts, k.since)
        AND coalesce(a.valid_to, 'infinity') >= k.ends
    LEFT JOIN litgo.lawyer_accounts p ON p.lawyer_id = l.id
    WHERE (k.since >= k.ends OR a.lawyer_id IS NOT NULL) AND p.lawyer_id IS NULL
      AND (k.starts >= k.since OR l.joined <= k.starts AND (l.leave_from IS NULL AND l.leave_until IS NULL
           OR l.leave_until <= k.starts OR l.leave_from >= LEAST(k.since, k.ends)))
),
stretch AS (
    SELECT a.lawyer_id, GREATEST(a.valid_from, k.starts) AS starts, LEAST(coalesce(a.valid_to, 'infinity'), k.ends) AS ends
    FROM known k JOIN litgo.lawyer_availability a ON a.valid_from < k.ends AND coalesce(a.valid_to, 'infinity') > k.starts
    UNION ALL
    SELECT l.id, GREATEST(k.starts, l.joined), LEAST(k.since, k.ends, CASE WHEN l.leave_until IS NOT NULL
        THEN coalesce(l.leave_from, '-infinity') ELSE l.leave_from END)
    FROM known k JOIN here l ON k.since > k.starts
    UNION ALL  -- after a leave
    SELECT l.id, GREATEST(k.starts, l.joined, l.leave_until), LEAST(k.since, k.ends)
    FROM known k JOIN here l ON k.since > k.starts AND l.leave_until < k.ends
),
listed AS MATERIALIZED (
    SELECT l.id, l.primary_area, l.geo_latlon, l.lat, l.lng FROM lawyers l
    WHERE NOT EXISTS (SELECT FROM always w WHERE w.id = l.id)
),
name AS MATERIALIZED (  -- each spelling is read once, not once a lawyer
    SELECT area, litgo.area_name(area) AS name FROM (SELECT DISTINCT primary_area AS area FROM listed) written
)
SELECT l.id::text AS lawyer_id, coalesce(p.person_id, l.id)::text AS person, n.name AS area,
       place.at[1] AS lat, place.at[0] AS lng,
       extract(epoch FROM s.starts)::float8 AS starts, extract(epoch FROM s.ends)::float8 AS ends
FROM listed l
CROSS JOIN LATERAL (SELECT {lawyer_place} AS at) place
LEFT JOIN name n ON n.area = l.primary_area
LEFT JOIN litgo.lawyer_accounts p ON p.lawyer_id = l.id
LEFT JOIN stretch s ON s.lawyer_id = l.id AND s.ends > s.starts
