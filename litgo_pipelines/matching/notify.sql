-- Tells who has to know, once each time: also what was answered by a clock that is a little ahead of ours.
WITH news AS (
{news}),
told AS (
    INSERT INTO litgo.told AS t (kind, subject, recipient_id, told_at)
    SELECT kind, subject, recipient_id,
           LEAST(GREATEST(since, %(as_of)s::timestamptz), %(as_of)s::timestamptz + interval '1 day') FROM news
    ON CONFLICT (kind, subject) DO UPDATE SET told_at = excluded.told_at, recipient_id = excluded.recipient_id
    RETURNING kind, subject
),
written AS (
    INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at)
    SELECT kind, recipient_id, kind || ':' || subject || ':' || extract(epoch FROM since), payload, %(as_of)s
    FROM told JOIN news USING (kind, subject)
    ON CONFLICT (dedup_key) DO NOTHING
)
SELECT count(*) FROM told
