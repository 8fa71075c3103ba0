SELECT count(*)
FROM litgo.contract_requests r
JOIN contracts c ON c.id = r.contract_id
WHERE r.status = 'manual'
  AND c.status = 'pending-signature'
  AND (
    litgo.day_end(r.due_at) <= %(as_of)s AND r.overdue_told_at IS NULL
    OR r.reminded_at IS NULL AND litgo.day_end(r.due_at) > %(as_of)s
        AND r.due_at - LEAST(%(remind)s, (r.due_at - r.requested_at) / 2) <= %(as_of)s
  )
