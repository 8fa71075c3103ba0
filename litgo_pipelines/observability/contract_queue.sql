SELECT coalesce(extract(epoch FROM now() - min(c.created_at)), 0)
FROM exported_contracts c
WHERE c.status = 'pending-signature'
  AND NOT c.documented
  AND c.created_at > now() - interval '30 days'
  AND c.created_at <= now()
  AND NOT EXISTS (SELECT FROM litgo.contract_requests r WHERE r.contract_id = c.id)
