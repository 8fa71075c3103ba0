-- These deliveries with what it takes to write and address them: one row each, its messages in order.
WITH tokens AS MATERIALIZED (
    SELECT DISTINCT lower(btrim(p.push_token)) AS token
    FROM litgo.deliveries d JOIN profiles p ON p.id = d.recipient_id
    WHERE d.delivery_id = ANY(%(ids)s::uuid[])
), shared AS MATERIALIZED (
    SELECT token FROM tokens JOIN profiles p ON lower(btrim(p.push_token)) = token GROUP BY token HAVING count(*) > 1
)
SELECT d.delivery_id::text, d.recipient_id::text, d.attempts, d.in_doubt, d.in_doubt_since,
       nullif(btrim(p.push_token), ''), coalesce(lower(btrim(p.push_token)) IN (SELECT token FROM shared), false), p.email, p.full_name,
       coalesce(l.place[1], max(own.place[1])), coalesce(l.place[0], max(own.place[0])), l.oab_number,
       coalesce(d.push_key, d.delivery_id)::text,
       array_agg(o.message_id ORDER BY o.message_id),
       array_agg(o.created_at ORDER BY o.message_id),
       jsonb_agg(jsonb_build_object(
           'kind', o.kind, 'payload', o.payload,
           'facts', jsonb_build_object(
               'area', nullif(litgo.area_label(k.area), 'outra'), 'subarea', litgo.subarea_label(k.area, k.subarea), 'complexity', k.complexity, 'urgency_h', CASE WHEN k.urgency_h > 0 AND k.urgency_h < 8760 THEN litgo.number(k.urgency_h) END,
               -- one that is nested without end could not be read, and the messages beside it neither
               'fee_model', CASE WHEN length(c.fee_model::text) <= 1000 THEN c.fee_model END)
       ) ORDER BY o.message_id)
FROM litgo.deliveries d
JOIN litgo.outbox o ON o.delivery_id = d.delivery_id AND o.status = 'pending'
LEFT JOIN profiles p ON p.id = d.recipient_id
LEFT JOIN LATERAL (  -- where the reader is: a lawyer's place, a client's case
    SELECT coalesce(litgo.placed(x.geo_latlon), litgo.placed(point(litgo.number(x.lng), litgo.number(x.lat)))) AS place, x.oab_number
    FROM lawyers x WHERE x.id = d.recipient_id
) l ON true
LEFT JOIN contracts c ON c.id = (o.payload ->> 'contract_id')::uuid
LEFT JOIN cases k ON k.id = (o.payload ->> 'case_id')::uuid
LEFT JOIN LATERAL (
    SELECT coalesce(litgo.placed(k.coords), litgo.placed(point(litgo.number(k.lng), litgo.number(k.lat)))) AS place
    WHERE k.client_id = d.recipient_id
) own ON true
WHERE d.delivery_id = ANY(%(ids)s::uuid[])
GROUP BY d.delivery_id, p.push_token, p.email, p.full_name, l.place[0], l.place[1], l.oab_number
ORDER BY d.next_attempt_at, d.delivery_id
