-- Who must not be offered a case again, or ever: who was offered it, and who is its client, by whichever of the accounts
-- with one registration number.
WITH barred AS (
    SELECT case_id, lawyer_id FROM offers WHERE case_id = ANY(%(case_ids)s::uuid[])
    UNION
    SELECT id, client_id FROM cases WHERE id = ANY(%(case_ids)s::uuid[])
)
SELECT case_id::text, lawyer_id::text FROM barred
UNION
SELECT b.case_id::text, t.id::text
FROM barred b
JOIN lawyers l ON l.id = b.lawyer_id
JOIN lawyers t ON litgo.oab_key(t.oab_number) = litgo.oab_key(l.oab_number)
ORDER BY 1, 2
