-- What the batch's lawyers achieved in the subareas of its cases.
SELECT s.lawyer_id::text, k.number AS subarea, s.concluded::float8, s.won::float8
FROM unnest(%(areas)s::text[], %(subareas)s::text[]) WITH ORDINALITY AS k (area, subarea, number)
JOIN litgo.lawyer_subarea_evidence s ON s.area = k.area AND s.subarea = k.subarea
