-- Of each layer the experiment whose cutoff was closed last, at that cutoff: one row per arm and figure, and what
-- compares them.
WITH newest AS (
    SELECT c.experiment, c.statistics, c.decision
    FROM (SELECT DISTINCT layer FROM litgo.experiments) AS l
    CROSS JOIN LATERAL (
        SELECT c.* FROM litgo.experiment_cutoffs c JOIN litgo.experiments e USING (experiment)
        WHERE e.layer = l.layer ORDER BY c.cutoff DESC LIMIT 1
    ) AS c
),
sums AS (
    SELECT n.experiment, arm.key AS variant,
           sum((arm.value ->> 'exposed')::float8) AS exposed, sum((arm.value ->> 'mature')::float8) AS mature,
           sum((arm.value ->> 'conversions')::float8) AS conversions,
           sum((arm.value #>> '{guardrails,hours_to_accept,y}')::float8) AS hours,
           sum((arm.value #>> '{guardrails,rating,y}')::float8) AS stars,
           sum((arm.value #>> '{guardrails,rating,x}')::float8) AS rated
    FROM newest n
    CROSS JOIN jsonb_array_elements(n.statistics -> 'phases') AS phase (arms)
    CROSS JOIN jsonb_each(phase.arms - 'fraction') AS arm
    GROUP BY 1, 2
)
SELECT experiment, variant, metric, value
FROM sums
CROSS JOIN LATERAL (VALUES
    ('exposed', exposed), ('mature', mature), ('conversions', conversions),
    ('conversion_rate', conversions / nullif(mature, 0)), ('hours_to_accept', hours / nullif(mature, 0)),
    ('rating', stars / nullif(rated, 0))
) AS m (metric, value)
UNION ALL
SELECT experiment, 'comparison', metric, (decision ->> metric)::float8
FROM newest
CROSS JOIN unnest(ARRAY[
    'log_e_better', 'log_e_worse', 'log_e_mismatch', 'log_e_limit', 'lift', 'information', 'predictive_power',
    'gini_excess'
]) AS metric
