-- Tells who has to know, once each time.
WITH news AS (
{news}),
told AS (
    INSERT INTO litgo.told AS t (kind, subject, recipient_id, told_at)
    SELECT kind, subject, recipient_id, %(as_of)s FROM news
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
