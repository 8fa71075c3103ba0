SELECT c.area, {}
FROM (
    SELECT case_id, bool_or(status IN ('interested', 'closed')) AS accepted
    FROM exported_offers
    WHERE sent_at > now() - interval '30 days' AND sent_at <= now() - interval '1 day'
    GROUP BY 1
) o
JOIN exported_cases c ON c.id = o.case_id
WHERE c.area IS NOT NULL
GROUP BY 1
ORDER BY count(*) DESC
LIMIT {areas}
