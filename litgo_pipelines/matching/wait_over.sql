-- Waits that are over, and failures of cases that are pending no more: the case went on without us, or is gone, and should it
-- be opened again its people are told anew; somebody took an interest after all; a contract made since came to nothing.
WITH failures AS (
    DELETE FROM litgo.matching_failures f
    WHERE NOT EXISTS (SELECT FROM cases c WHERE c.id = f.case_id AND c.status = 'pending_assignment')
)
DELETE FROM litgo.case_waits v
WHERE NOT EXISTS (SELECT FROM cases c WHERE c.id = v.case_id AND c.status = 'pending_assignment')
   OR EXISTS (SELECT FROM offers f WHERE f.case_id = v.case_id AND ({open_offer}))
   OR v.reason = 'rounds_over' AND EXISTS (
       SELECT FROM contracts k
       WHERE k.case_id = v.case_id AND k.status = 'canceled' AND k.created_at > v.since AND k.created_at <= %(as_of)s)
