-- These deliveries may arrive by these channels from now on; whose lease was lost, somebody else has.
UPDATE litgo.deliveries d
SET attempts = d.attempts + 1, channel = a.channel, in_doubt = a.channel,
    in_doubt_since = coalesce(d.in_doubt_since, %(at)s), push_key = a.push_key,
    lease_until = clock_timestamp() + a.lease * interval '1 second'
FROM unnest(%(ids)s::uuid[], %(channels)s::text[], %(keys)s::uuid[], %(leases)s::float8[])
    AS a (id, channel, push_key, lease)
WHERE d.delivery_id = a.id AND d.claimed_by = %(token)s
RETURNING d.delivery_id::text
