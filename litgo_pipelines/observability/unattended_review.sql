-- Entries of the review queue of which nobody was told.
SELECT c.id::text, t.as_of AS due_at
FROM litgo.triage t
JOIN exported_cases c ON c.id = t.case_id
LEFT JOIN litgo.told o ON o.kind = 'case_review' AND o.subject = c.id::text
WHERE t.status = 'review' AND c.status = 'pending_assignment'
  AND litgo.needs_person(c.area, c.subarea, t.reason)
  AND t.as_of < %(as_of)s::timestamptz - interval '2 hours' AND coalesce(o.told_at < t.as_of, true)
