SELECT s.status, count(o.id)
FROM (VALUES ('interested'), ('declined'), ('expired'), ('other')) s (status)
LEFT JOIN (
    SELECT id, CASE WHEN status = 'closed' THEN 'interested'
                    WHEN status IN ('interested', 'declined', 'expired') THEN status ELSE 'other' END AS status
    FROM exported_offers
    WHERE sent_at > now() - interval '8 days' AND expires_at > now() - interval '1 day' AND expires_at <= now()
) o USING (status)
GROUP BY 1
