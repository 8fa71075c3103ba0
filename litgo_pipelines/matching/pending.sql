-- Cases to match as of an instant, in the order of their turn, with the round they are in. What is unhandled decides, not
-- a watermark: a row that becomes visible late is found like any other. `since` bounds what a frequent look costs.
WITH waiting AS (
    SELECT c.id, c.created_at
    FROM cases c
    WHERE c.status = 'pending_assignment' AND litgo.chosen(c.area) IS NOT NULL
      AND c.created_at <= %(as_of)s AND c.created_at > %(since)s
),
fresh AS (
    SELECT w.id, w.created_at, 1 AS round
    FROM waiting w
    WHERE NOT EXISTS (SELECT FROM litgo.matchings WHERE case_id = w.id)
      AND NOT EXISTS (SELECT FROM offers WHERE case_id = w.id)
),
again AS (
    -- A further round is for a case whose offers all came to nothing: none open, none accepted, not too old.
    SELECT w.id, w.created_at, 1 + GREATEST(m.round, 1) AS round
    FROM waiting w
    CROSS JOIN LATERAL (SELECT coalesce(max(round), 0) AS round FROM litgo.matchings WHERE case_id = w.id) m
    CROSS JOIN LATERAL (
        SELECT count(*) AS offers, count(*) FILTER (WHERE status NOT IN ('declined', 'expired')) AS open
        FROM offers WHERE case_id = w.id
    ) o
    WHERE w.created_at > %(as_of)s::timestamptz - %(round_days)s * interval '24 hours'
      AND (o.offers > 0 OR m.round > 0) AND o.open = 0 AND m.round < %(rounds)s
)
SELECT p.id::text AS case_id, p.round, p.created_at
FROM (SELECT * FROM fresh UNION ALL SELECT * FROM again WHERE round <= %(rounds)s) p
WHERE NOT EXISTS (
    SELECT FROM litgo.matching_failures f
    WHERE f.case_id = p.id  -- a failure of the future is one of a clock that was wrong
      AND (f.dead OR f.retry_at > %(as_of)s AND f.last_failed_at <= %(as_of)s)
)
ORDER BY p.created_at, p.id
LIMIT %(limit)s
