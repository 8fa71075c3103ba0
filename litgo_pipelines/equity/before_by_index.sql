SELECT l.id AS lawyer_id, earlier.sent_at AS last_offered_at
    FROM lawyers l CROSS JOIN window_30d w
    LEFT JOIN offered o ON o.lawyer_id = l.id
    CROSS JOIN LATERAL (
        SELECT p.sent_at FROM offers p
        WHERE p.lawyer_id = l.id AND p.sent_at >= '1900-01-01 00:00:00+00' AND p.sent_at < w.starts
        ORDER BY p.sent_at DESC LIMIT 1
    ) earlier
    WHERE o.lawyer_id IS NULL
