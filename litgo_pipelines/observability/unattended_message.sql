-- Messages that nobody tries to deliver any more, and dead ones of which the team was not told. The team's own end dead:
-- there is nobody left to tell, but for the alert. Two statements, each read by its own partial index.
SELECT o.message_id::text, coalesce(o.retried_at, o.created_at) AS due_at
FROM litgo.outbox o
LEFT JOIN LATERAL (
    SELECT max(d.next_attempt_at) FILTER (WHERE d.status = 'open') AS next_attempt_at, max(d.finished_at) AS finished_at
    FROM litgo.deliveries d WHERE d.recipient_id = o.recipient_id AND o.status = 'pending'
) d ON true
WHERE o.status = 'pending' AND o.created_at <= %(as_of)s
      AND coalesce(d.next_attempt_at, GREATEST(o.created_at, o.retried_at, d.finished_at))
          < %(as_of)s::timestamptz - interval '2 hours'
UNION ALL
SELECT o.message_id::text, o.settled_at
FROM litgo.outbox o
WHERE o.status = 'dead' AND o.settled_at < %(as_of)s::timestamptz - interval '2 hours'
      AND o.recipient_id::text NOT LIKE '00000000-0000-0000-0000-00000000000_'
      AND NOT EXISTS (SELECT FROM litgo.told t WHERE t.kind = 'message_dead' AND t.subject = o.message_id::text
                      AND t.told_at >= o.settled_at)
