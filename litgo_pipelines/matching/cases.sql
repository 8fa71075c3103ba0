-- The cases of a batch in the order of their turn.
SELECT c.id::text, c.client_id::text, c.area, coalesce(c.subarea, '') AS subarea, c.urgency_h::float8,
       coalesce(c.complexity, 'MEDIUM') AS complexity, c.coords[0] AS lng, c.coords[1] AS lat,
       {preset} AS preset,
       b.round
FROM unnest(%(case_ids)s::uuid[], %(rounds)s::int[]) WITH ORDINALITY AS b (case_id, round, turn)
JOIN cases c ON c.id = b.case_id
ORDER BY b.turn
