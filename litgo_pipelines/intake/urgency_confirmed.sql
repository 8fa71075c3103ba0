-- A person's word on the urgency of an open case.
WITH decided AS (
    UPDATE litgo.triage t
    SET urgency_h = %(hours)s, urgency_source = 'person', sources = t.sources || '{"urgency_h": "person"}',
        reviewer = %(who)s, reviewed_at = %(as_of)s,
        status = CASE WHEN t.reason = 'danger_unsure' OR t.reason = 'failed' AND litgo.chosen(c.area) IS NOT NULL
                           AND litgo.chosen(c.subarea) IS NOT NULL THEN 'classified' ELSE t.status END
    FROM cases c
    WHERE t.case_id = %(case_id)s::uuid AND c.id = t.case_id AND c.status = 'pending_assignment'
    RETURNING t.case_id
)
UPDATE cases SET urgency_h = %(hours)s WHERE id IN (SELECT case_id FROM decided)
