INSERT INTO litgo.triage
    (case_id, as_of, status, urgency_h, urgency_source, complexity, sources, alternatives, reason, text_bytes,
     text_hash)
SELECT id, %(at)s, 'review', coalesce(CASE WHEN urgency_h > 0 THEN litgo.number(urgency_h) END, {urgency_h}),
       CASE WHEN urgency_h > 0 THEN 'client' ELSE 'default' END, coalesce(complexity, '{complexity}'), '{}', '[]',
       'failed', %(text_bytes)s, %(text_hash)s
FROM cases WHERE id = %(case_id)s
ON CONFLICT (case_id) DO UPDATE SET status = 'review', reason = 'failed', as_of = excluded.as_of,
    text_bytes = excluded.text_bytes, text_hash = excluded.text_hash
