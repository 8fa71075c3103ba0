-- Clients whose first request of the window was offered, and how many were accepted within the outcome's days.
WITH requests AS (
    SELECT c.client_id, c.id, min(o.sent_at) AS sent_at
    FROM cases c JOIN offers o ON o.case_id = c.id
    WHERE o.sent_at > %(at)s::timestamptz - %(since)s AND o.sent_at <= %(at)s
    GROUP BY c.client_id, c.id
),
first_ones AS (
    SELECT DISTINCT ON (client_id) id, sent_at FROM requests ORDER BY client_id, sent_at, id
)
SELECT count(*), count(*) FILTER (WHERE EXISTS (
    SELECT FROM offers o
    WHERE o.case_id = f.id AND o.status IN ('interested', 'closed') AND litgo.instant(o.responded_at) <= f.sent_at + %(window)s
))
FROM first_ones f
WHERE f.sent_at + %(window)s <= %(at)s
