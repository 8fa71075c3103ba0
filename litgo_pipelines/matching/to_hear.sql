-- Who hears that nobody was found for the case c, and after how long a wait: the team after a twelfth of the case's urgency
-- (15 minutes to 6 hours), the client after a quarter (30 minutes to a day).
SELECT who.id, LEAST(who.longest, GREATEST(who.shortest, urgency.hours / who.share)) * interval '1 hour' AS after
FROM (SELECT CASE WHEN c.urgency_h > 0 AND c.urgency_h < 8760 THEN litgo.number(c.urgency_h) ELSE 72 END AS hours) urgency
CROSS JOIN (VALUES (%(team)s::uuid, 12, 0.25, 6), (c.client_id, 4, 0.5, 24)) AS who (id, share, shortest, longest)
WHERE who.id IS NOT NULL
