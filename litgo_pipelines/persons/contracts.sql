SELECT id::text FROM contracts
WHERE client_id = ANY(%(persons)s::uuid[]) OR lawyer_id = ANY(%(persons)s::uuid[]) OR case_id = ANY(%(cases)s::uuid[])
UNION
SELECT payload ->> 'contract_id' FROM litgo.outbox
WHERE payload ? 'contract_id' AND recipient_id = ANY(%(persons)s::uuid[])
UNION
SELECT unnest(%(contracts)s::text[])
