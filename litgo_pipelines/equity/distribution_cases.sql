-- Cases that arrived between two instants, in the order they came; their areas by the name that pools are known by.
SELECT n.name AS area, place.at[1] AS lat, place.at[0] AS lng, extract(epoch FROM c.created_at)::float8 AS at
FROM cases c
JOIN (
    SELECT area, litgo.area_name(area) AS name
    FROM (SELECT DISTINCT area FROM cases WHERE created_at >= %(starts)s AND created_at < %(as_of)s) known
) n USING (area)
CROSS JOIN LATERAL (SELECT {case_place} AS at) place
WHERE c.created_at >= %(starts)s AND c.created_at < %(as_of)s
