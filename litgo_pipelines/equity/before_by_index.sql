(
        SELECT p.sent_at FROM offers p
        WHERE p.lawyer_id = c.id AND p.sent_at >= '1900-01-01 00:00:00+00' AND p.sent_at < (SELECT starts FROM window_30d)
        ORDER BY p.sent_at DESC LIMIT 1
    )
