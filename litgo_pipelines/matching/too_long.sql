-- Open offers of ours whose cases became more urgent after they were made (a text was edited, or read late; a person or the
-- marketplace said so), and when they should end: a share of the urgency from now. What was made or shortened by it is within.
SELECT o.id::text, at.expires_at
FROM offers o
JOIN cases c ON c.id = o.case_id
LEFT JOIN litgo.triage t ON t.case_id = o.case_id AND GREATEST(t.as_of, t.reviewed_at) > o.sent_at
CROSS JOIN LATERAL (
    SELECT %(as_of)s::timestamptz + GREATEST(%(least)s::interval, %(share)s * interval '1 hour' * LEAST(
        CASE WHEN c.urgency_h > 0 THEN litgo.number(c.urgency_h) END, t.urgency_h, 8784)) AS expires_at) at
WHERE o.status = 'pending' AND o.expires_at > at.expires_at AND o.sent_at <= %(as_of)s
  AND EXISTS (SELECT FROM litgo.matchings m WHERE m.case_id = o.case_id)
