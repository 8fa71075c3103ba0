-- One look at a case found nobody: it waits, with a growing pause of at most a day. The team hears of it after a twelfth
-- of the case's urgency (15 minutes to 6 hours), the client after a quarter (30 minutes to a day). Both are looked at then.
WITH looked AS (
    SELECT c.id, c.client_id, {digest} AS digest,
           CASE WHEN c.urgency_h > 0 AND c.urgency_h < 8760 THEN litgo.number(c.urgency_h) ELSE 72 END AS urgency_h
    FROM cases c WHERE c.id = %(case_id)s::uuid AND c.status = 'pending_assignment'
),
waits AS (
    INSERT INTO litgo.case_waits AS v
        (case_id, reason, round, since, looks, looked_at, rest_until, next_look_at, case_digest)
    SELECT id, 'nobody', %(round)s, %(as_of)s, 1, %(as_of)s, %(as_of)s::timestamptz + interval '1 minute',
           %(as_of)s::timestamptz + interval '5 minutes', digest
    FROM looked
    ON CONFLICT (case_id) DO UPDATE
    SET looks = v.looks + 1, looked_at = excluded.looked_at, case_digest = excluded.case_digest,
        rest_until = excluded.looked_at + CASE WHEN v.reason = 'nobody' THEN interval '1 minute'
                                               ELSE LEAST(2 ^ LEAST(v.looks, 8), 168) * interval '1 hour' END,
        next_look_at = CASE WHEN v.reason = 'nobody' THEN (
            SELECT min(due) FROM looked, LATERAL (VALUES
                (excluded.looked_at + LEAST(1440, 5 * 2 ^ LEAST(v.looks, 10)) * interval '1 minute'),
                (v.since + LEAST(6, GREATEST(0.25, urgency_h / 12)) * interval '1 hour'),
                (v.since + LEAST(24, GREATEST(0.5, urgency_h / 4)) * interval '1 hour')
            ) AS d (due) WHERE due > excluded.looked_at) END
    RETURNING case_id, reason, since, looked_at
),
told AS (
    INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at)
    SELECT 'case_waits', who.id, 'case_waits:' || w.case_id || ':' || extract(epoch FROM w.since) || ':' || who.id,
           jsonb_build_object('case_id', w.case_id, 'reason', 'nobody', 'since', w.since), %(as_of)s
    FROM waits w JOIN looked k ON k.id = w.case_id
    CROSS JOIN LATERAL (VALUES
        (%(team)s::uuid, LEAST(6, GREATEST(0.25, urgency_h / 12)) * interval '1 hour'),
        (k.client_id, LEAST(24, GREATEST(0.5, urgency_h / 4)) * interval '1 hour')) AS who (id, after)
    WHERE w.reason = 'nobody' AND who.id IS NOT NULL AND w.looked_at - w.since >= who.after
    ON CONFLICT (dedup_key) DO NOTHING
),
mended AS (
    DELETE FROM litgo.matching_failures WHERE case_id IN (SELECT case_id FROM waits)
)
SELECT count(*) FROM waits
