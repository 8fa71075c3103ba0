-- Offers made for the first cases of the clients exposed first, in the 30 days up to the last one's exposure: one row per client
-- and offer, clients numbered from 0 in the order of their exposure, lawyer null where a client got none (or none in these
-- days); and that instant.
WITH a AS (
    SELECT row_number() OVER (ORDER BY first_exposed_at, client_id) - 1 AS number, *
    FROM litgo.experiment_arms WHERE experiment = %(experiment)s AND first_exposed_at <= %(cutoff)s
    ORDER BY first_exposed_at, client_id LIMIT %(clients)s
)
SELECT a.number, a.arm = 'treatment' AS treated, a.phase, o.lawyer_id::text, last.instant
FROM a
CROSS JOIN (SELECT max(first_exposed_at) AS instant FROM a) AS last
LEFT JOIN offers o ON o.case_id = a.case_id AND o.sent_at BETWEEN a.first_exposed_at AND last.instant
    AND o.sent_at > last.instant - interval '30 days'
ORDER BY a.number
