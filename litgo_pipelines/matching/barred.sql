-- Who must not be offered a case again, or ever: who was offered it, who is its client, and whose registration number stands
-- in its text, for it is about them; by whichever of the accounts of one lawyer.
WITH named AS MATERIALIZED (
    SELECT c.id, litgo.oab_key(said.number[1]) AS number
    FROM cases c
    CROSS JOIN LATERAL regexp_matches(
        left(concat_ws(' ', c.title, c.description), 10000),
        '\mO\.?A\.?B\M[^0-9]{0,20}[0-9][0-9.]{1,9}(?:\s?[-/]\s?[A-Z]{2}\M)?', 'gi') AS said (number)
    WHERE c.id = ANY(%(case_ids)s::uuid[])
),
barred AS (
    SELECT case_id, lawyer_id FROM offers WHERE case_id = ANY(%(case_ids)s::uuid[])
    UNION
    SELECT id, client_id FROM cases WHERE id = ANY(%(case_ids)s::uuid[])
    UNION
    SELECT n.id, l.id FROM named n JOIN lawyers l ON litgo.oab_key(l.oab_number) = n.number
)
SELECT case_id::text, lawyer_id::text FROM barred
UNION
SELECT b.case_id::text, other.lawyer_id::text
FROM barred b
JOIN litgo.lawyer_accounts mine ON mine.lawyer_id = b.lawyer_id
JOIN litgo.lawyer_accounts other ON other.person_id = mine.person_id
ORDER BY 1, 2
