INSERT INTO litgo.contract_requests AS r (contract_id, transaction_id, status, reason, requested_at, next_check_at)
VALUES (%(contract)s, %(transaction)s, 'refused', %(reason)s, %(at)s, %(at)s + interval '1 hour')
ON CONFLICT (contract_id) DO UPDATE SET reason = excluded.reason, checks = r.checks + 1,
    next_check_at = %(at)s + LEAST(24, 2 ^ LEAST(r.checks + 1, 5)) * interval '1 hour'
WHERE r.status = 'refused'
