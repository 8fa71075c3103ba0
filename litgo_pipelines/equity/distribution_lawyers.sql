-- One row a lawyer of the night and area, ordered by lawyer; the first of a lawyer's rows carries the lawyer.
SELECT h.lawyer_id::text, l.primary_area, (litgo.placed(l.geo_latlon))[1] AS lat, (litgo.placed(l.geo_latlon))[0] AS lng,
       h.capacidade_mensal::float8 AS capacity, h.offers_30d::float8 AS offers,
       LEAST(1, extract(epoch FROM h.as_of - litgo.joined(l.created_at)) / 2592000)::float8 AS active_share,
       area.name AS area
FROM litgo.equity_history h
JOIN lawyers l ON l.id = h.lawyer_id
LEFT JOIN LATERAL (
    SELECT DISTINCT name FROM unnest(array_append(litgo.list(l.tags_expertise), l.primary_area)) AS name WHERE name IS NOT NULL
) area ON true
WHERE h.night = %(night)s AND l.is_available
  AND COALESCE(l.active, true)
ORDER BY h.lawyer_id
