-- Sums of an experiment at a cutoff: one row per phase and arm, phases in order, treatment before control. A client is mature
-- when the outcome's days are over; nobody else's outcome counts. Hours of who did not accept are the cap.
WITH outcomes AS (
    SELECT client_id, min(value) FILTER (WHERE kind = 'accepted') AS hours,
           min(value) FILTER (WHERE kind = 'rating') AS stars
    FROM litgo.experiment_outcomes WHERE experiment = %(experiment)s AND seen_at <= %(cutoff)s GROUP BY client_id
),
clients AS (
    SELECT a.phase, a.arm, a.client_id, a.first_exposed_at + %(window)s <= %(cutoff)s AS mature, o.hours, o.stars,
           LEAST(coalesce(o.hours, %(cap)s), %(cap)s) AS capped
    FROM litgo.experiment_arms a LEFT JOIN outcomes o USING (client_id)
    WHERE a.experiment = %(experiment)s AND a.first_exposed_at <= %(cutoff)s
)
SELECT p.treatment_points, count(c.client_id), count(*) FILTER (WHERE c.mature),
       count(c.hours) FILTER (WHERE c.mature),
       coalesce(sum(c.capped) FILTER (WHERE c.mature), 0)::float8,
       coalesce(sum(c.capped * c.capped) FILTER (WHERE c.mature), 0)::float8,
       count(c.stars) FILTER (WHERE c.mature),
       coalesce(sum(c.stars) FILTER (WHERE c.mature), 0)::float8,
       coalesce(sum(c.stars * c.stars) FILTER (WHERE c.mature), 0)::float8
FROM litgo.experiment_phases p
CROSS JOIN (VALUES (1, 'treatment'), (2, 'control')) AS v (place, arm)
LEFT JOIN clients c ON c.phase = p.phase AND c.arm = v.arm
WHERE p.experiment = %(experiment)s
GROUP BY p.phase, p.treatment_points, v.place
ORDER BY p.phase, v.place
