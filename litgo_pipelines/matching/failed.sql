-- One more failed try of a case: the next one after a growing pause, after `attempts` of them the team is told.
INSERT INTO litgo.matching_failures AS f (case_id, attempts, reason, first_failed_at, last_failed_at, retry_at, dead)
VALUES (%(case)s, 1, %(reason)s, %(at)s, %(at)s, %(at)s + %(retry)s, false)
ON CONFLICT (case_id) DO UPDATE SET attempts = f.attempts + 1, reason = excluded.reason,
    last_failed_at = excluded.last_failed_at,
    retry_at = excluded.last_failed_at
        + CASE WHEN f.attempts + 1 >= %(attempts)s THEN %(told)s ELSE %(retry)s * (f.attempts + 1) END,
    dead = f.attempts + 1 >= %(attempts)s
RETURNING dead, first_failed_at
