before AS (
    SELECT p.lawyer_id, max(litgo.instant(p.sent_at)) AS last_offered_at
    FROM offers p, window_30d w
    WHERE p.sent_at < w.starts
    GROUP BY p.lawyer_id
),
