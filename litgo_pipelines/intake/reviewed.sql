-- A person's decision on area and subarea. A class that is urgent by its nature shortens the urgency.
WITH decided AS (
    UPDATE litgo.triage
    SET status = 'classified', area = %(area)s, subarea = %(subarea)s, reviewer = %(who)s, reviewed_at = %(as_of)s,
        sources = sources || %(sources)s::jsonb
            || CASE WHEN %(class_h)s::float8 < urgency_h THEN '{"urgency_h": "class"}' ELSE '{}' END::jsonb,
        urgency_source = CASE WHEN %(class_h)s::float8 < urgency_h THEN 'class' ELSE urgency_source END,
        urgency_h = LEAST(urgency_h, %(class_h)s::float8)
    WHERE case_id = %(case_id)s::uuid
)
UPDATE cases
SET area = %(area)s, subarea = %(subarea)s, urgency_h = LEAST(urgency_h, %(class_h)s::float8)
WHERE id = %(case_id)s::uuid
