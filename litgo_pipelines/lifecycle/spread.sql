-- Offers made for the first cases of the clients exposed first: one row a client and offer, clients numbered from 0 in the
-- order of their exposure, lawyer null where a client got none yet.
SELECT a.number, a.arm = 'treatment' AS treated, a.phase, o.lawyer_id::text
FROM (
    SELECT row_number() OVER (ORDER BY first_exposed_at, client_id) - 1 AS number, *
    FROM litgo.experiment_arms WHERE experiment = %(experiment)s AND first_exposed_at <= %(cutoff)s
    ORDER BY first_exposed_at, client_id LIMIT %(clients)s
) a
LEFT JOIN offers o ON o.case_id = a.case_id AND o.sent_at BETWEEN a.first_exposed_at AND %(cutoff)s
ORDER BY a.number
