-- Signatures by hand: who has not signed is reminded before the term; after it the team is told, once each.
WITH waiting AS MATERIALIZED (
    SELECT r.contract_id, r.due_at, c.client_id, c.lawyer_id, c.signed_client, c.signed_lawyer,
           litgo.day_end(r.due_at) <= %(as_of)s AS overdue
    FROM litgo.contract_requests r JOIN contracts c ON c.id = r.contract_id
    WHERE r.status = 'manual' AND c.status = 'pending-signature' AND (
        litgo.day_end(r.due_at) <= %(as_of)s AND r.overdue_told_at IS NULL
        OR r.reminded_at IS NULL AND litgo.day_end(r.due_at) > %(as_of)s
           AND r.due_at - LEAST(%(remind)s, (r.due_at - r.requested_at) / 2) <= %(as_of)s)
    FOR UPDATE OF r
),
marked AS (
    UPDATE litgo.contract_requests r
    SET reminded_at = CASE WHEN w.overdue THEN r.reminded_at ELSE %(as_of)s END,
        overdue_told_at = CASE WHEN w.overdue THEN %(as_of)s END
    FROM waiting w WHERE w.contract_id = r.contract_id
),
people AS (
    SELECT w.contract_id, w.due_at, 'contract_reminder' AS kind, p.who
    FROM waiting w
    CROSS JOIN LATERAL (VALUES (w.client_id, w.signed_client), (w.lawyer_id, w.signed_lawyer)) AS p (who, signed)
    WHERE NOT w.overdue AND p.signed IS NULL
    UNION ALL
    SELECT contract_id, due_at, 'contract_overdue', %(team)s::uuid FROM waiting WHERE overdue
),
told AS (
    INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at)
    SELECT kind, who, kind || ':' || contract_id || ':paper:' || who,
           jsonb_build_object('contract_id', contract_id, 'due_at', due_at, 'method', 'manual'), %(as_of)s
    FROM people
    ON CONFLICT (dedup_key) DO NOTHING
    RETURNING kind
)
SELECT (SELECT count(*) FROM told WHERE kind = 'contract_reminder'), (SELECT count(*) FROM waiting WHERE overdue)
