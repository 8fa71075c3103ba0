INSERT INTO litgo.triage
    (case_id, as_of, status, urgency_h, urgency_source, complexity, sources, alternatives, reason)
SELECT id, %(at)s, 'review', coalesce(CASE WHEN urgency_h > 0 THEN litgo.number(urgency_h) END, {urgency_h}),
       CASE WHEN urgency_h > 0 THEN 'client' ELSE 'default' END, coalesce(complexity, '{complexity}'), '{}', '[]',
       'failed'
FROM cases WHERE id = %(case)s
ON CONFLICT (case_id) DO NOTHING
