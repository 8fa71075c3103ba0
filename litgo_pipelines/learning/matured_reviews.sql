-- Reviews that tell a ranker something: of closed contracts whose case and lawyer have logged features.
-- A contract counts once, whatever the number of its reviews. `after` null: from the beginning.
SELECT count(DISTINCT r.contract_id), max(r.created_at)
FROM reviews AS r
JOIN contracts AS c ON c.id = r.contract_id AND c.status = 'closed'
JOIN case_matches AS m ON m.case_id = c.case_id AND m.lawyer_id = c.lawyer_id
    AND jsonb_typeof(m.features) = 'object'
WHERE r.created_at <= %(as_of)s AND (%(after)s::timestamptz IS NULL OR r.created_at > %(after)s)
