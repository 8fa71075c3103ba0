-- These deliveries were accepted by their providers, where the lease is still ours.
UPDATE litgo.deliveries d
SET status = 'accepted', finished_at = %(at)s, provider_id = a.provider_id, reason = NULL, in_doubt = NULL,
    in_doubt_since = NULL, claimed_by = NULL, lease_until = NULL
FROM unnest(%(ids)s::uuid[], %(provider_ids)s::text[]) AS a (id, provider_id)
WHERE d.delivery_id = a.id AND d.claimed_by = %(token)s
RETURNING d.delivery_id::text
