SELECT r.contract_id::text, r.due_at, r.due_at < %(as_of)s, litgo.instant(c.signed_client) IS NULL,
    litgo.instant(c.signed_lawyer) IS NULL, r.reason
FROM litgo.contract_requests r
JOIN contracts c ON c.id = r.contract_id
WHERE r.status = 'manual'
  AND c.status = 'pending-signature'
  AND r.requested_at <= %(as_of)s
ORDER BY r.due_at, r.contract_id
LIMIT %(limit)s
