-- What is known of a case that has no matching: its state, why and until when it waits, which case it repeats.
SELECT c.status, litgo.chosen(c.area), f.reason, f.attempts, f.retry_at, v.since, v.next_look_at, d.of_case_id::text
FROM cases c
LEFT JOIN litgo.case_duplicates d ON d.case_id = c.id
LEFT JOIN litgo.matching_failures f ON f.case_id = c.id
LEFT JOIN litgo.case_waits v ON v.case_id = c.id
WHERE c.id::text = %s
