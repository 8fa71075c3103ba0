UPDATE litgo.contract_requests SET next_check_at = %(later)s
WHERE contract_id = (
    SELECT contract_id FROM litgo.contract_requests
    WHERE (next_check_at <= %(as_of)s OR next_check_at > %(as_of)s + interval '25 hours') AND status <> 'refused'
    ORDER BY next_check_at, contract_id LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING contract_id::text, transaction_id::text, envelope_id, requested_at, checks, failed_looks, due_at,
    reminded_at IS NOT NULL, signers
