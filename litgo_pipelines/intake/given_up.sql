INSERT INTO litgo.triage
    (case_id, as_of, status, urgency_h, urgency_source, complexity, sources, alternatives, reason, text_bytes)
SELECT id, %(at)s, 'review', coalesce(CASE WHEN urgency_h > 0 THEN litgo.number(urgency_h) END, {urgency_h}),
       CASE WHEN urgency_h > 0 THEN 'client' ELSE 'default' END, coalesce(complexity, '{complexity}'), '{}', '[]',
       'failed', coalesce(octet_length(title), 0)::bigint + coalesce(octet_length(description), 0)
FROM cases WHERE id = %(case)s
ON CONFLICT (case_id) DO UPDATE SET status = 'review', reason = 'failed', as_of = excluded.as_of,
    text_bytes = excluded.text_bytes
