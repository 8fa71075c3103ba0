INSERT INTO litgo.triage_failures AS f (case_id, attempts, reason, first_failed_at, last_failed_at, retry_at)
VALUES (%(case)s, 1, %(reason)s, %(at)s, %(at)s, %(at)s + %(retry)s)
ON CONFLICT (case_id) DO UPDATE SET attempts = f.attempts + 1, reason = excluded.reason,
    last_failed_at = excluded.last_failed_at, retry_at = excluded.last_failed_at + %(retry)s * (f.attempts + 1)
RETURNING attempts
