-- Every offer, judged as of one instant: its relevance label, or the reason why it cannot be used.
-- Temporary, so that the rows exported and the exclusions counted come from one definition in one transaction.
--
-- Labels (the highest that applies): 0 declined or not answered until it expired, 1 interested, 2 contract signed by
-- both, 3 contract closed with a review of 4 or 5 stars or an outcome won or settled. Only events at or before the
-- instant count. An offer that is 'closed' after an answer was open to the lawyer when the case went to another: the
-- lawyer was interested (a declined one stays 'declined').
CREATE TEMPORARY VIEW judged_offers AS
WITH contract_events AS (
    -- One row per case and lawyer whatever the number of contracts and reviews; the first event that gives the label.
    SELECT
        c.case_id,
        c.lawyer_id,
        min(greatest(litgo.instant(c.signed_client), litgo.instant(c.signed_lawyer))) FILTER (
            WHERE c.status <> 'canceled' AND litgo.instant(c.signed_client) <= %(as_of)s
              AND litgo.instant(c.signed_lawyer) <= %(as_of)s
        ) AS signed_at,
        min(litgo.instant(r.created_at)) FILTER (
            WHERE c.status = 'closed' AND litgo.instant(r.created_at) <= %(as_of)s
              AND (r.rating BETWEEN 4 AND 5 OR r.outcome IN ('won', 'settled'))
        ) AS delivered_at
    FROM contracts AS c
    LEFT JOIN reviews AS r ON r.contract_id = c.id
    WHERE c.created_at <= %(as_of)s
    GROUP BY c.case_id, c.lawyer_id
),
labelled AS (
    SELECT
        o.case_id,
        o.lawyer_id,
        litgo.instant(o.sent_at) AS sent_at,
        coalesce(o.raw_score, m.raw_score) AS raw_score,
        m.features,
        litgo.instant(m.created_at) AS logged_at,
        litgo.instant(k.created_at) AS case_created_at,
        k.area,
        CASE WHEN abs(k.coords[0]) <= 180 AND abs(k.coords[1]) <= 90 THEN k.coords END AS coords,
        litgo.joined(l.created_at) > litgo.instant(o.sent_at) - interval '60 days' AS new_lawyer,
        o.status = 'interested' AND litgo.instant(o.responded_at) IS NULL AND e.signed_at IS NULL AND e.delivered_at IS NULL
            AS answer_without_instant,
        CASE
            WHEN e.delivered_at IS NOT NULL THEN 3
            WHEN e.signed_at IS NOT NULL THEN 2
            WHEN o.status IN ('interested', 'closed') AND litgo.instant(o.responded_at) <= %(as_of)s THEN 1
            WHEN o.status = 'declined' AND litgo.instant(o.responded_at) <= %(as_of)s THEN 0
            WHEN coalesce(litgo.instant(o.expires_at), litgo.instant(o.sent_at) + interval '24 hours') <= %(as_of)s THEN 0
        END AS label,
        CASE
            WHEN e.delivered_at IS NOT NULL THEN e.delivered_at
            WHEN e.signed_at IS NOT NULL THEN e.signed_at
            WHEN o.status IN ('interested', 'closed', 'declined') AND litgo.instant(o.responded_at) <= %(as_of)s THEN litgo.instant(o.responded_at)
            ELSE coalesce(litgo.instant(o.expires_at), litgo.instant(o.sent_at) + interval '24 hours')
        END AS label_at
    FROM offers AS o
    JOIN cases AS k ON k.id = o.case_id
    LEFT JOIN lawyers AS l ON l.id = o.lawyer_id
    LEFT JOIN case_matches AS m ON m.case_id = o.case_id AND m.lawyer_id = o.lawyer_id
    LEFT JOIN contract_events AS e ON e.case_id = o.case_id AND e.lawyer_id = o.lawyer_id
    -- erased, though the marketplace may still show them
    WHERE NOT EXISTS (SELECT FROM litgo.tombstones AS t WHERE t.digest = litgo.subject_digest(o.lawyer_id))
      AND NOT EXISTS (SELECT FROM litgo.tombstones AS t WHERE t.digest = litgo.subject_digest(k.client_id))
)
SELECT
    *,
    CASE
        WHEN sent_at > %(as_of)s OR case_created_at > %(as_of)s THEN 'after the instant'
        WHEN sent_at IS NULL OR case_created_at IS NULL OR case_id IS NULL OR lawyer_id IS NULL THEN 'no usable instant or id'
        WHEN answer_without_instant THEN 'answered at an unknown time'
        WHEN label IS NULL THEN 'not resolved yet'
        WHEN features IS NULL OR jsonb_typeof(features) <> 'object' THEN 'no features logged'
        WHEN logged_at > sent_at THEN 'features logged after the offer'
    END AS excluded
FROM labelled
