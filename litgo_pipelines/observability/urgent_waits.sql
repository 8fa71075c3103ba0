-- Open cases that wait for triage or for a person, by stage and urgency: how many, and for how long the oldest, in seconds.
-- A case nobody has read yet may be in danger whatever its client chose: without a figure its urgency is unknown.
WITH class (urgency) AS (VALUES ('4h'), ('24h'), ('72h'), ('later'), ('unknown')),
waiting AS (
    SELECT 'triage' AS stage, litgo.number(c.urgency_h) AS hours, c.created_at AS since
    FROM exported_cases c
    WHERE c.status = 'pending_assignment' AND c.created_at <= now() AND c.created_at > now() - interval '90 days'
      AND NOT EXISTS (SELECT FROM litgo.triage t WHERE t.case_id = c.id)
      AND NOT EXISTS (SELECT FROM exported_offers o WHERE o.case_id = c.id)  -- of before the pipelines, by others
    UNION ALL
    SELECT 'review', t.urgency_h::float8, t.as_of
    FROM litgo.triage t JOIN exported_cases c ON c.id = t.case_id
    WHERE t.status = 'review' AND c.status = 'pending_assignment'
      AND litgo.needs_person(c.area, c.subarea, t.reason)
),
classed AS (
    SELECT stage, since, CASE WHEN hours <= 4 THEN '4h' WHEN hours <= 24 THEN '24h' WHEN hours <= 72 THEN '72h'
                              WHEN hours > 72 THEN 'later' ELSE 'unknown' END AS urgency
    FROM waiting
)
SELECT s.stage, class.urgency, count(w.since) AS cases,
       greatest(0, coalesce(extract(epoch FROM now() - min(w.since)), 0))::float8 AS oldest
FROM (VALUES ('triage'), ('review')) AS s (stage)
CROSS JOIN class
LEFT JOIN classed w ON w.stage = s.stage AND w.urgency = class.urgency
GROUP BY 1, 2
