-- What came of clients' first cases and is not recorded yet: events up to the cutoff, seen for that cutoff. An event whose
-- row appears after its cutoff was closed counts from the next one on.
WITH clients AS (
    SELECT client_id, case_id, first_exposed_at FROM litgo.experiment_arms
    WHERE experiment = %(experiment)s AND first_exposed_at <= %(cutoff)s
),
events AS (
    -- an offer that was accepted is 'closed' when the case went to another lawyer
    SELECT a.client_id, 'accepted' AS kind, min(o.responded_at) AS event_at, NULL::float8 AS stars
    FROM clients a JOIN offers o ON o.case_id = a.case_id
    WHERE o.status IN ('interested', 'closed') AND o.sent_at >= a.first_exposed_at
      AND o.responded_at BETWEEN a.first_exposed_at AND LEAST(a.first_exposed_at + %(window)s, %(cutoff)s)
    GROUP BY a.client_id
    UNION ALL
    SELECT a.client_id, 'signed', min(GREATEST(k.signed_client, k.signed_lawyer)), NULL
    FROM clients a JOIN contracts k ON k.case_id = a.case_id
    WHERE k.status <> 'canceled' AND k.signed_client BETWEEN a.first_exposed_at AND %(cutoff)s
      AND k.signed_lawyer BETWEEN a.first_exposed_at AND %(cutoff)s
    GROUP BY a.client_id
    UNION ALL
    SELECT a.client_id, 'rating', min(r.created_at), (array_agg(litgo.number(r.rating) ORDER BY r.created_at, r.id))[1]
    FROM clients a JOIN contracts k ON k.case_id = a.case_id JOIN reviews r ON r.contract_id = k.id
    WHERE r.rating BETWEEN 1 AND 5 AND r.created_at BETWEEN a.first_exposed_at AND %(cutoff)s
    GROUP BY a.client_id
)
INSERT INTO litgo.experiment_outcomes (experiment, client_id, kind, value, event_at, seen_at)
SELECT %(experiment)s, client_id, kind,
       coalesce(stars, extract(epoch FROM event_at - first_exposed_at)::float8 / 3600), event_at, %(cutoff)s
FROM events JOIN clients USING (client_id)
ON CONFLICT (experiment, client_id, kind) DO NOTHING
