SELECT o.case_id::text, o.lawyer_id::text, c.client_id::text, extract(epoch FROM o.sent_at)::float8,
    (
        SELECT count(*) FROM offers b
        WHERE b.case_id = o.case_id AND b.sent_at = o.sent_at AND b.raw_score > o.raw_score
    )::float8,
    {case}
FROM offers o
JOIN cases c ON c.id = o.case_id
WHERE o.status = 'interested'
  AND c.status = 'pending_assignment'
  AND o.sent_at <= %(yesterday)s
  AND o.sent_at > %(start)s - interval '30 days'
  AND c.area IS NOT NULL
  AND NOT EXISTS (SELECT FROM contracts k WHERE k.case_id = c.id)
ORDER BY o.case_id, 5, o.lawyer_id
