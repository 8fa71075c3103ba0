-- One look at a case found nobody: it waits, with a growing pause of at most a day, and is looked at when somebody is to
-- hear of it. A wait that began in the future did so by a clock that was wrong.
WITH looked AS (
    SELECT c.id, {digest} AS digest FROM cases c WHERE c.id = %(case_id)s::uuid AND c.status = 'pending_assignment'
),
hear AS (
    SELECT who.id, who.after FROM cases c CROSS JOIN LATERAL (
{to_hear}    ) who
    WHERE c.id = %(case_id)s::uuid
),
waits AS (
    INSERT INTO litgo.case_waits AS v
        (case_id, reason, round, since, looks, looked_at, rest_until, next_look_at, case_digest)
    SELECT id, 'nobody', %(round)s, %(as_of)s, 1, %(as_of)s, %(as_of)s::timestamptz + interval '1 minute',
           %(as_of)s::timestamptz + interval '5 minutes', digest
    FROM looked
    ON CONFLICT (case_id) DO UPDATE
    SET since = LEAST(v.since, excluded.since), looks = v.looks + 1, looked_at = excluded.looked_at,
        case_digest = excluded.case_digest,
        rest_until = excluded.looked_at + CASE WHEN v.reason = 'nobody' THEN interval '1 minute'
                                               ELSE LEAST(2 ^ LEAST(v.looks, 8), 168) * interval '1 hour' END,
        next_look_at = CASE WHEN v.reason = 'nobody' THEN (
            SELECT min(due) FROM (
                SELECT excluded.looked_at + LEAST(1440, 5 * 2 ^ LEAST(v.looks, 10)) * interval '1 minute' AS due
                UNION ALL SELECT LEAST(v.since, excluded.since) + after FROM hear
            ) AS d WHERE due > excluded.looked_at) END
    RETURNING case_id, reason, since, looked_at
),
told AS (
    INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at)
    SELECT 'case_waits', who.id, litgo.case_waits_key(w.case_id, w.since, who.id),
           jsonb_build_object('case_id', w.case_id, 'reason', 'nobody', 'since', w.since), %(as_of)s
    FROM waits w CROSS JOIN hear who
    WHERE w.reason = 'nobody' AND w.looked_at - w.since >= who.after
    ON CONFLICT (dedup_key) DO NOTHING
),
mended AS (
    DELETE FROM litgo.matching_failures WHERE case_id IN (SELECT case_id FROM waits)
)
SELECT count(*) FROM waits
