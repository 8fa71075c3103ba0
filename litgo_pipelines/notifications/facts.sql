-- The claimed deliveries with what it takes to write and address them: one row each, its messages in order.
SELECT d.delivery_id::text, d.recipient_id::text, d.attempts, d.in_doubt, d.in_doubt_since,
       nullif(p.push_token, ''), nullif(p.email, ''), p.full_name,
       array_agg(o.message_id ORDER BY o.message_id),
       array_agg(o.created_at ORDER BY o.message_id),
       jsonb_agg(jsonb_build_object(
           'kind', o.kind, 'payload', o.payload,
           'facts', jsonb_build_object(
               'area', k.area, 'subarea', k.subarea, 'complexity', k.complexity, 'urgency_h', k.urgency_h,
               'fee_model', c.fee_model)
       ) ORDER BY o.message_id)
FROM litgo.deliveries d
JOIN litgo.outbox o ON o.delivery_id = d.delivery_id AND o.status = 'pending'
LEFT JOIN profiles p ON p.id = d.recipient_id
LEFT JOIN contracts c ON c.id = (o.payload ->> 'contract_id')::uuid
LEFT JOIN cases k ON k.id = (o.payload ->> 'case_id')::uuid
WHERE d.claimed_by = %(token)s::uuid AND d.status = 'open'
GROUP BY d.delivery_id, p.push_token, p.email, p.full_name
ORDER BY d.next_attempt_at, d.delivery_id
