-- Cases that arrived in the window of the night.
SELECT area, coords[1] AS lat, coords[0] AS lng
FROM cases
WHERE created_at >= %(as_of)s::timestamptz - interval '720 hours' AND created_at < %(as_of)s AND area IS NOT NULL
