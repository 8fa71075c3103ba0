DELETE FROM litgo.contract_requests
WHERE contract_id IN (
    SELECT r.contract_id
    FROM litgo.contract_requests r
    JOIN contracts c ON c.id = r.contract_id
    WHERE r.requested_at < %(before)s
      AND c.status IN ('closed', 'canceled')
      AND r.status <> 'sending'
      AND NOT EXISTS (SELECT FROM litgo.contract_documents d WHERE d.contract_id = r.contract_id)
    LIMIT %(batch)s
)
