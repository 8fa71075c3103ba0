-- The newest check of what serves now: evidence of a drop, by what it was compared with.
SELECT v.against, v.value
FROM (
    SELECT c.state FROM litgo.quality_checks c
    JOIN (SELECT sequence FROM litgo.model_ledger WHERE transition IN ('champion', 'rolled_back')
          ORDER BY sequence DESC LIMIT 1) l ON l.sequence = c.episode
    ORDER BY c.checked_at DESC LIMIT 1
) AS newest
CROSS JOIN LATERAL (VALUES
    ('reference', (state -> 'alone' ->> 'cusum')::float8),
    ('holdout', (state -> 'against_control' ->> 'cusum')::float8),
    ('holdout_own', (state ->> 'control_cusum')::float8)
) AS v (against, value)
