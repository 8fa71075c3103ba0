-- A case and a lawyer who have met in no match and no offer.
CREATE TEMP TABLE litgo_pair ON COMMIT DROP AS
SELECT c.id AS case_id, l.id AS lawyer_id
FROM (SELECT id FROM cases ORDER BY status = 'pending_assignment' DESC, created_at DESC NULLS LAST LIMIT 20) c
CROSS JOIN (SELECT id FROM lawyers ORDER BY is_available DESC, id LIMIT 200) l
WHERE NOT EXISTS (SELECT FROM offers o WHERE o.case_id = c.id AND o.lawyer_id = l.id)
  AND NOT EXISTS (SELECT FROM case_matches m WHERE m.case_id = c.id AND m.lawyer_id = l.id)
LIMIT 1;
GRANT SELECT ON litgo_pair TO PUBLIC
