-- Outcomes of the champion and of the holdout that became final: since the last check, in the hour and in the day before the
-- instant. Outcomes and successes of each, in this order. A case counts with its first round only, once, at a fixed age:
-- counting answers as they come and silence a day later would show every busy Friday as a bad Saturday.
WITH finals AS (
    SELECT x.arm IS NOT DISTINCT FROM 'holdout' AS held, x.exposed_at + %(term)s AS final_at, EXISTS (
        SELECT FROM offers o
        WHERE o.case_id = x.case_id AND o.sent_at >= x.exposed_at AND o.status IN ('interested', 'closed')
          AND litgo.instant(o.responded_at) <= x.exposed_at + %(term)s
    ) AS accepted
    FROM litgo.exposures x
    WHERE x.round = 1 AND (x.model_version = %(version)s OR x.arm = 'holdout')
      AND x.exposed_at > GREATEST(%(since)s, LEAST(%(last)s, %(at)s - interval '1 day') - %(term)s)
      AND x.exposed_at <= %(at)s - %(term)s
)
SELECT w.held, count(f.accepted) FILTER (WHERE f.final_at > %(last)s),
       count(*) FILTER (WHERE f.final_at > %(last)s AND f.accepted),
       count(f.accepted) FILTER (WHERE f.final_at > %(at)s - interval '1 hour'),
       count(*) FILTER (WHERE f.final_at > %(at)s - interval '1 hour' AND f.accepted),
       count(f.accepted) FILTER (WHERE f.final_at > %(at)s - interval '1 day'),
       count(*) FILTER (WHERE f.final_at > %(at)s - interval '1 day' AND f.accepted)
FROM (VALUES (false), (true)) AS w (held) LEFT JOIN finals f USING (held)
GROUP BY w.held ORDER BY w.held
