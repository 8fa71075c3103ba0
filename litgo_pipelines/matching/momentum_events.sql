-- Offers, acceptances and contracts of the window before the instant, one row each: what momentum is made of.
-- Only instants say what had happened by then; a status says what is so today, so that none is asked where an instant can.
WITH named AS (  -- each spelling of an area is looked at once
    SELECT area AS word, litgo.area_name(area) AS area FROM (SELECT DISTINCT area FROM cases WHERE area <> '') s
),
sent AS (
    SELECT o.lawyer_id, o.case_id, o.sent_at, CASE WHEN o.status IN ('interested', 'closed') THEN o.responded_at END AS accepted_at
    FROM offers o
    WHERE o.sent_at >= %(since)s AND o.sent_at < %(as_of)s
),
signed AS (
    SELECT lawyer_id, case_id, GREATEST(signed_client, signed_lawyer) AS at,
           fee_model ->> 'type' AS kind,
           CASE WHEN jsonb_typeof(fee_model -> 'percent') = 'number' THEN litgo.number((fee_model ->> 'percent')::numeric)
                WHEN jsonb_typeof(fee_model -> 'value') = 'number' THEN litgo.number((fee_model ->> 'value')::numeric) END AS fee
    FROM contracts
    WHERE signed_client < %(as_of)s AND signed_lawyer < %(as_of)s
      AND GREATEST(signed_client, signed_lawyer) >= %(since)s
)
SELECT 0 AS what, e.lawyer_id::text, n.area, floor(extract(epoch FROM e.sent_at))::bigint AS at, NULL AS kind, NULL::float8 AS fee
FROM sent e JOIN cases c ON c.id = e.case_id JOIN named n ON n.word = c.area
UNION ALL
SELECT 1, e.lawyer_id::text, n.area, floor(extract(epoch FROM e.accepted_at))::bigint, NULL, NULL
FROM sent e JOIN cases c ON c.id = e.case_id JOIN named n ON n.word = c.area
WHERE e.accepted_at < %(as_of)s
UNION ALL
SELECT 2, e.lawyer_id::text, n.area, floor(extract(epoch FROM e.at))::bigint, e.kind, e.fee
FROM signed e LEFT JOIN cases c ON c.id = e.case_id LEFT JOIN named n ON n.word = c.area
