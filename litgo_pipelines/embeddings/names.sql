-- Names to mask in texts: of a case its client and the lawyers it was offered to or has a contract with; of a lawyer his own.
SELECT id::text, array_agg(name)
FROM (
    SELECT c.id, p.full_name AS name FROM cases c JOIN profiles p ON p.id = c.client_id
    WHERE c.id = ANY(%(case_ids)s::uuid[])
    UNION ALL
    SELECT o.case_id, l.name FROM offers o JOIN lawyers l ON l.id = o.lawyer_id
    WHERE o.case_id = ANY(%(case_ids)s::uuid[])
    UNION ALL
    SELECT k.case_id, l.name FROM contracts k JOIN lawyers l ON l.id = k.lawyer_id
    WHERE k.case_id = ANY(%(case_ids)s::uuid[])
    UNION ALL
    SELECT id, name FROM lawyers WHERE id = ANY(%(lawyer_ids)s::uuid[])
) known
WHERE name IS NOT NULL
GROUP BY id
