-- Cases that arrived in the window of the night.
SELECT area, place.at[1] AS lat, place.at[0] AS lng
FROM cases CROSS JOIN LATERAL (
    SELECT CASE WHEN abs(coords[0]) <= 180 AND abs(coords[1]) <= 90 THEN coords END AS at
) AS place
WHERE created_at >= %(as_of)s::timestamptz - interval '720 hours' AND created_at < %(as_of)s AND area IS NOT NULL
