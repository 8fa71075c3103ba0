-- By the taxonomy's name of an area; what it does not know is one area, "outra". Each spelling is looked at once.
WITH found AS (
    SELECT c.area, o.accepted
    FROM (
        SELECT case_id, bool_or(status IN ('interested', 'closed')) AS accepted
        FROM exported_offers
        WHERE sent_at > now() - interval '30 days' AND sent_at <= now() - interval '1 day'
        GROUP BY 1
    ) o
    JOIN exported_cases c ON c.id = o.case_id
    WHERE c.area IS NOT NULL
),
named AS MATERIALIZED (
    SELECT area, litgo.area_label(area) AS label FROM (SELECT DISTINCT area FROM found) AS spelled
)
SELECT n.label, {}
FROM found JOIN named n USING (area)
GROUP BY 1
ORDER BY count(*) DESC
LIMIT {areas}
