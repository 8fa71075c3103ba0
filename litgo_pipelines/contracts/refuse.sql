INSERT INTO litgo.contract_requests AS r (contract_id, transaction_id, status, reason, requested_at, next_check_at)
VALUES (%(contract)s, %(transaction)s, 'refused', %(reason)s, %(at)s, %(at)s + interval '1 hour')
ON CONFLICT (contract_id) DO UPDATE SET status = 'refused', reason = excluded.reason,
    checks = CASE WHEN r.status = 'refused' THEN r.checks + 1 ELSE 0 END,
    next_check_at = %(at)s + LEAST(24, 2 ^ LEAST(CASE WHEN r.status = 'refused' THEN r.checks + 1 ELSE 0 END, 5)) * interval '1 hour'
WHERE r.status IN ('refused', 'canceled', 'signed')
