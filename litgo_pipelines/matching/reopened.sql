-- Triaged cases whose area was removed afterwards. A person decides, for the text was read already.
SELECT t.case_id
FROM litgo.triage t JOIN cases c ON c.id = t.case_id
WHERE t.status = 'classified' AND c.status = 'pending_assignment' AND litgo.chosen(c.area) IS NULL
