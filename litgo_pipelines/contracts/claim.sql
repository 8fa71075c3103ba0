-- The contract is read again under the lock of its row: it may have been canceled since.
INSERT INTO litgo.contract_requests AS r (contract_id, transaction_id, status, requested_at, claim, claimed_until)
SELECT id, %(transaction)s, 'sending', %(at)s, %(claim)s, clock_timestamp() + %(lease)s * interval '1 second'
FROM (SELECT id FROM contracts WHERE id = %(contract)s AND status = 'pending-signature' AND nullif(btrim(doc_url), '') IS NULL FOR SHARE) c
ON CONFLICT (contract_id) DO UPDATE SET status = 'sending', reason = NULL, requested_at = excluded.requested_at,
    claim = excluded.claim, claimed_until = excluded.claimed_until, checks = 0, next_check_at = NULL, reminded_at = NULL
WHERE r.status = 'refused'
