-- Those that have ended are of hosts that are not called any more: calls to others fail.
UPDATE litgo.circuit_breakers SET certificates = jsonb_build_object(%(host)s, %(ends)s) || (
    SELECT coalesce(jsonb_object_agg(c.key, c.value), '{}') FROM jsonb_each(certificates) c
    WHERE c.key <> %(host)s AND c.value::float8 > extract(epoch FROM now()))
WHERE service = %(service)s AND certificates -> %(host)s IS DISTINCT FROM to_jsonb(%(ends)s::float8)
