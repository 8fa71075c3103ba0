-- Cases to match as of an instant, in the order of their turn, with the round they are in. What is unhandled decides, not
-- a watermark: a row that becomes visible late is found like any other.
-- A further round is for a case whose offers all came to nothing: none open, none accepted, not too old.
SELECT c.id::text AS case_id, 1 + GREATEST(m.round, CASE WHEN o.offers > 0 THEN 1 ELSE 0 END) AS round, c.created_at
FROM cases c
CROSS JOIN LATERAL (
    SELECT coalesce(max(round), 0) AS round FROM litgo.matchings WHERE case_id = c.id
) m
CROSS JOIN LATERAL (
    SELECT count(*) AS offers, count(*) FILTER (WHERE status NOT IN ('declined', 'expired')) AS open
    FROM offers WHERE case_id = c.id
) o
WHERE c.status = 'pending_assignment' AND c.area IS NOT NULL AND c.created_at <= %(as_of)s
  AND o.open = 0
  AND GREATEST(m.round, CASE WHEN o.offers > 0 THEN 1 ELSE 0 END) < %(rounds)s
  AND ((m.round = 0 AND o.offers = 0) OR c.created_at > %(as_of)s::timestamptz - %(round_days)s * interval '24 hours')
  AND NOT EXISTS (
      SELECT FROM litgo.matching_failures f WHERE f.case_id = c.id AND (f.dead OR f.retry_at > %(as_of)s)
  )
ORDER BY c.created_at, c.id
LIMIT %(limit)s
