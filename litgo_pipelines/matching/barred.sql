-- Who must not be offered a case again, or ever: who was offered it, and who is its client, by whichever of the accounts
-- of one lawyer.
WITH barred AS (
    SELECT case_id, lawyer_id FROM offers WHERE case_id = ANY(%(case_ids)s::uuid[])
    UNION
    SELECT id, client_id FROM cases WHERE id = ANY(%(case_ids)s::uuid[])
)
SELECT case_id::text, lawyer_id::text FROM barred
UNION
SELECT b.case_id::text, other.lawyer_id::text
FROM barred b
JOIN litgo.lawyer_accounts mine ON mine.lawyer_id = b.lawyer_id
JOIN litgo.lawyer_accounts other ON other.person_id = mine.person_id
ORDER BY 1, 2
