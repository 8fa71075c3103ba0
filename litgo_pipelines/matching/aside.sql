-- Pending cases that nothing can be decided for until somebody mends their row: put aside as failed, told to the team. Those
-- that were mended go on.
WITH bad AS (
    SELECT c.id, CASE WHEN c.client_id IS NULL THEN 'client_id vazio: corrija a linha'
                      WHEN c.created_at > %(as_of)s THEN 'created_at está no futuro: corrija a linha'
                      ELSE 'created_at não é um instante utilizável: corrija a linha' END AS reason
    FROM cases c
    WHERE c.status = 'pending_assignment' AND (litgo.instant(c.created_at) IS NULL OR c.client_id IS NULL
                                               OR c.created_at > %(as_of)s::timestamptz + interval '1 day')
),
mended AS (
    DELETE FROM litgo.matching_failures f
    WHERE f.reason LIKE '%%: corrija a linha' AND NOT EXISTS (SELECT FROM bad b WHERE b.id = f.case_id)
)
INSERT INTO litgo.matching_failures AS f (case_id, attempts, reason, first_failed_at, last_failed_at, retry_at, dead)
SELECT id, 1, reason, %(as_of)s, %(as_of)s, %(as_of)s::timestamptz + %(again)s, true FROM bad
ON CONFLICT (case_id) DO UPDATE SET reason = excluded.reason, last_failed_at = excluded.last_failed_at,
    retry_at = excluded.retry_at, dead = true
RETURNING case_id::text, first_failed_at
