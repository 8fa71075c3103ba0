INSERT INTO litgo.circuit_breakers AS b (service, failures, opened_at, retry_at, last_failed_at, last_reason)
SELECT %(service)s, 1, CASE WHEN opens THEN at END, CASE WHEN opens THEN at + pause END, at, %(reason)s
FROM (SELECT clock_timestamp() AS at, %(pause)s * interval '1 second' AS pause, %(threshold)s <= 1 AS opens) AS _
ON CONFLICT (service) DO UPDATE SET
    failures = b.failures + 1,
    opened_at = CASE WHEN b.opened_at IS NULL AND b.failures + 1 >= %(threshold)s THEN clock_timestamp()
                     ELSE b.opened_at END,
    retry_at = CASE WHEN b.opened_at IS NULL AND b.failures + 1 >= %(threshold)s OR b.probe = %(token)s::uuid
                    THEN clock_timestamp() + %(pause)s * interval '1 second' ELSE b.retry_at END,
    probe = nullif(b.probe, %(token)s::uuid),
    last_failed_at = excluded.last_failed_at,
    last_reason = excluded.last_reason
RETURNING failures = %(threshold)s
