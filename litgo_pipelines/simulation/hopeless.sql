SELECT c.id::text
FROM cases c
WHERE c.status = 'pending_assignment'
  AND c.created_at > %(start)s - interval '7 days'
  AND c.created_at <= %(stop)s - interval '7 days'
  AND EXISTS (SELECT FROM offers o WHERE o.case_id = c.id)
  AND NOT EXISTS (SELECT FROM offers o WHERE o.case_id = c.id AND o.status = 'interested')
ORDER BY c.id
