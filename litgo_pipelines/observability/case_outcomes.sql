WITH found AS (
    SELECT case_id
    FROM exported_offers
    WHERE sent_at > now() - interval '15 days' AND expires_at > now() - interval '8 days'
      AND expires_at <= now() - interval '1 day' AND status IN ('interested', 'closed')
    GROUP BY 1
)
SELECT 'interested', count(*) FROM found
UNION ALL
SELECT 'signed', count(*) FROM found f
WHERE EXISTS (SELECT FROM exported_contracts c WHERE c.case_id = f.case_id AND c.status IN ('active', 'closed'))
