-- These deliveries were accepted by their providers, where the lease is still ours, and with them their messages: the
-- first of each as itself, the others as merged into it.
WITH accepted AS (
    UPDATE litgo.deliveries d
    SET status = 'accepted', finished_at = %(at)s, provider_id = a.provider_id, reason = NULL, in_doubt = NULL,
        in_doubt_since = NULL, claimed_by = NULL, lease_until = NULL
    FROM unnest(%(ids)s::uuid[], %(provider_ids)s::text[]) AS a (id, provider_id)
    WHERE d.delivery_id = a.id AND d.claimed_by = %(token)s
    RETURNING d.delivery_id
),
settled AS (
    UPDATE litgo.outbox o SET status = m.status, settled_at = %(at)s
    FROM accepted a
    JOIN unnest(%(messages)s::bigint[], %(of)s::uuid[], %(statuses)s::text[]) AS m (id, of, status) ON m.of = a.delivery_id
    WHERE o.message_id = m.id
)
SELECT delivery_id::text FROM accepted
