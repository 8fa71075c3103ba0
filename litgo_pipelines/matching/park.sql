-- The end of the rounds: the case waits for a change, client and team are told. Rests longer after every further round.
WITH over AS (
{over}),
parked AS (
    INSERT INTO litgo.case_waits (case_id, reason, round, since, looks, looked_at, rest_until, case_digest)
    SELECT c.id, 'rounds_over', over.round, %(as_of)s, 1, %(as_of)s,
           %(as_of)s::timestamptz + LEAST(2 ^ GREATEST(0, over.round - %(rounds)s - 1), 168) * interval '1 hour', {digest}
    FROM over JOIN cases c ON c.id = over.case_id
    ON CONFLICT DO NOTHING
    RETURNING case_id, round
),
told AS (
    INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at)
    SELECT 'case_waits', who.id,
           'case_waits:' || p.case_id || ':round ' || p.round || ':' || extract(epoch FROM %(as_of)s::timestamptz) || ':' || who.id,
           jsonb_build_object('case_id', p.case_id, 'reason', 'rounds_over', 'since', %(as_of)s::timestamptz), %(as_of)s
    FROM parked p JOIN over USING (case_id)
    CROSS JOIN LATERAL (VALUES (over.client_id), (%(team)s::uuid)) AS who (id)
    WHERE who.id IS NOT NULL
    ON CONFLICT (dedup_key) DO NOTHING
)
SELECT count(*) FROM parked
