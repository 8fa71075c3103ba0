-- What is wrong with the offers of the newest hundred cases matched.
WITH newest AS (
    SELECT case_id, round, matched_at, candidates FROM litgo.matchings ORDER BY matched_at DESC LIMIT 100
),
made AS (
    SELECT n.case_id, n.round, n.candidates, count(o.id) AS offers,
           count(o.id) FILTER (WHERE NOT coalesce(m.breakdown ? 'propensity', false)) AS unlogged,
           count(o.id) FILTER (WHERE b.message_id IS NULL) AS untold
    FROM newest n
    LEFT JOIN offers o ON o.case_id = n.case_id AND o.sent_at = n.matched_at
    LEFT JOIN case_matches m ON m.case_id = o.case_id AND m.lawyer_id = o.lawyer_id
    LEFT JOIN litgo.outbox b ON b.dedup_key = 'offer:' || o.case_id || ':' || o.lawyer_id
    GROUP BY n.case_id, n.round, n.candidates
)
SELECT count(*), count(*) FILTER (WHERE offers <> LEAST(5, candidates)), coalesce(sum(unlogged), 0)::int,
       coalesce(sum(untold), 0)::int
FROM made
