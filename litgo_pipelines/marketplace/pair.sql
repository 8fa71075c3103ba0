-- A case and lawyers who have met in no match and no offer: five, as matching offers a case to at once, or as many as there are.
CREATE TEMP TABLE litgo_pair ON COMMIT DROP AS
SELECT case_id, lawyer_id
FROM (
    SELECT c.id AS case_id, l.id AS lawyer_id, first_value(c.id) OVER (ORDER BY c.place) AS first
    FROM (SELECT id, row_number() OVER (ORDER BY status = 'pending_assignment' DESC, created_at DESC NULLS LAST) AS place
          FROM cases ORDER BY place LIMIT 20) c
    CROSS JOIN (SELECT id FROM lawyers ORDER BY is_available DESC, id LIMIT 200) l
    WHERE NOT EXISTS (SELECT FROM offers o WHERE o.case_id = c.id AND o.lawyer_id = l.id)
      AND NOT EXISTS (SELECT FROM case_matches m WHERE m.case_id = c.id AND m.lawyer_id = l.id)
) met_never
WHERE case_id = first LIMIT 5;
GRANT SELECT ON litgo_pair TO PUBLIC
