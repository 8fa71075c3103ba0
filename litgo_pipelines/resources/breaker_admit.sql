-- No pause is longer than an hour: one that is was written while a clock was wrong.
-- Of two that race, the second waits for the first and finds retry_at moved: it gets no probe.
WITH probe AS (
    UPDATE litgo.circuit_breakers
    SET probe = %(token)s::uuid, retry_at = clock_timestamp() + %(lease)s * interval '1 second'
    WHERE service = %(service)s
      AND (retry_at <= clock_timestamp() OR retry_at > clock_timestamp() + interval '2 hours')
    RETURNING 1
)
SELECT EXISTS (SELECT FROM probe),
       (SELECT extract(epoch FROM retry_at - clock_timestamp())::float8
        FROM litgo.circuit_breakers WHERE service = %(service)s)
