-- One suppression list as it was read: who is on it, who is not any more. For who is new, what SendGrid had accepted in
-- the three days before and did not deliver goes back to the outbox; the team hears of each person once. An erased
-- person's address is left out, unless somebody else has it now.
WITH told_of AS MATERIALIZED (
    SELECT DISTINCT ON (digest) digest, since
    FROM unnest(%(digests)s::text[], %(since)s::timestamptz[]) AS r (digest, since)
    ORDER BY digest, since DESC
),
erased AS MATERIALIZED (
    SELECT r.digest FROM told_of r
    JOIN litgo.tombstones t ON t.kind = 'address' AND t.digest = sha256(convert_to(r.digest, 'UTF8'))
),
read AS MATERIALIZED (
    SELECT r.digest, r.since FROM told_of r
    WHERE r.digest NOT IN (SELECT digest FROM erased)
       OR r.digest IN (
          SELECT litgo.address_digest(p.email) FROM profiles p
          WHERE EXISTS (SELECT FROM erased) AND p.email IS NOT NULL
            AND NOT EXISTS (
                SELECT FROM litgo.tombstones t WHERE t.kind = 'person' AND t.digest = litgo.subject_digest(p.id)))
),
gone AS (
    DELETE FROM litgo.mail_suppressions s
    WHERE s.list = %(list)s AND NOT EXISTS (SELECT FROM read r WHERE r.digest = s.digest)
),
fresh AS MATERIALIZED (
    SELECT r.digest, r.since FROM read r
    WHERE NOT EXISTS (
        SELECT FROM litgo.mail_suppressions s WHERE s.list = %(list)s AND s.digest = r.digest AND s.since >= r.since)
),
written AS (
    INSERT INTO litgo.mail_suppressions (list, digest, since) SELECT %(list)s, digest, since FROM fresh
    ON CONFLICT (digest, list) DO UPDATE SET since = excluded.since
),
person AS MATERIALIZED (
    SELECT p.id, f.digest, f.since FROM fresh f
    JOIN profiles p ON litgo.address_digest(p.email) = f.digest
    WHERE EXISTS (SELECT FROM fresh)
),
bounced AS MATERIALIZED (  -- a report of spam or a cancellation says that the message arrived
    SELECT d.delivery_id
    FROM person w JOIN litgo.deliveries d ON d.recipient_id = w.id
    WHERE %(list)s NOT IN ('spam_reports', 'unsubscribes') AND d.status = 'accepted' AND d.channel = 'email'
      AND d.finished_at BETWEEN w.since - interval '3 days' AND w.since + interval '5 minutes'
),
again AS (
    UPDATE litgo.outbox o SET status = 'pending', delivery_id = NULL, settled_at = NULL, retried_at = %(as_of)s
    FROM bounced b WHERE o.delivery_id = b.delivery_id AND o.status IN ('accepted', 'merged')
    RETURNING o.message_id
),
told AS (
    INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at)
    SELECT 'address_bad', %(team)s::uuid, 'address_bad:' || w.id || ':' || %(list)s || ':' || w.digest,
           jsonb_build_object('person_id', w.id, 'why', %(list)s), %(as_of)s
    FROM person w
    ON CONFLICT (dedup_key) DO NOTHING
)
SELECT (SELECT count(*) FROM fresh), (SELECT count(*) FROM again)
