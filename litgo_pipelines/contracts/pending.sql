-- Contracts whose turn it is: new ones, refused ones to look at again, and those whose sender was killed. No look is put
-- off by more than a day and no claim lasts an hour: longer ones were written while a clock was wrong.
WITH turn AS (
    SELECT c.id
    FROM contracts c LEFT JOIN litgo.contract_requests r ON r.contract_id = c.id
    WHERE c.status = 'pending-signature' AND nullif(btrim(c.doc_url), '') IS NULL AND (c.created_at > %(as_of)s AND c.created_at <= %(as_of)s::timestamptz + interval '1 day') IS NOT TRUE
      AND (r.contract_id IS NULL
           OR r.status IN ('canceled', 'signed')  -- it had ended, and waits for signatures again
           OR r.status = 'refused'
           AND (r.next_check_at <= %(as_of)s OR r.next_check_at > %(as_of)s + interval '25 hours'))
    UNION ALL
    SELECT contract_id FROM litgo.contract_requests
    WHERE status = 'sending' AND (claimed_until <= clock_timestamp() OR claimed_until > clock_timestamp() + interval '2 hours')
)
SELECT c.id::text AS contract_id, c.client_id::text, c.lawyer_id::text, c.status, c.fee_model, c.created_at,
       p.full_name AS client_name, p.email AS client_email, l.name AS lawyer_name, lp.email AS lawyer_email,
       l.oab_number AS oab, k.title, k.area, o.status AS offer_status, r.status AS request_status,
       EXISTS (SELECT FROM litgo.contract_documents d WHERE d.contract_id = c.id) AS has_document,
       c.client_id = c.lawyer_id OR EXISTS (
           SELECT FROM litgo.lawyer_accounts mine JOIN litgo.lawyer_accounts other ON other.person_id = mine.person_id
           WHERE mine.lawyer_id = c.lawyer_id AND other.lawyer_id = c.client_id) AS same_person,
       EXISTS (  -- the marketplace may allow several: the client would sign, and owe, both
           SELECT FROM contracts x
           WHERE x.case_id = c.case_id AND x.id <> c.id
             AND (x.status = 'active' OR x.status = 'pending-signature' AND (x.created_at, x.id) < (c.created_at, c.id))
       ) AS second
FROM turn
JOIN contracts c ON c.id = turn.id
LEFT JOIN litgo.contract_requests r ON r.contract_id = c.id
LEFT JOIN profiles p ON p.id = c.client_id
LEFT JOIN lawyers l ON l.id = c.lawyer_id
LEFT JOIN profiles lp ON lp.id = c.lawyer_id  -- a lawyer's profile has the lawyer's id
LEFT JOIN cases k ON k.id = c.case_id
LEFT JOIN offers o ON o.case_id = c.case_id AND o.lawyer_id = c.lawyer_id
ORDER BY c.created_at, c.id
LIMIT %(limit)s
