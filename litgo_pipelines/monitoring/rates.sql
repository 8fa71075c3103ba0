-- The newest check of what serves now: share accepted of the day's final outcomes, and the reference.
SELECT v.what, v.value
FROM (
    SELECT c.observation -> 'day' AS day, r.reference FROM litgo.quality_checks c
    JOIN (SELECT sequence FROM litgo.model_ledger WHERE transition IN ('champion', 'rolled_back')
          ORDER BY sequence DESC LIMIT 1) l ON l.sequence = c.episode
    LEFT JOIN litgo.quality_references r USING (episode)
    ORDER BY c.checked_at DESC LIMIT 1
) AS newest
CROSS JOIN LATERAL (VALUES
    ('champion', (day ->> 'successes')::float8 / nullif((day ->> 'outcomes')::float8, 0)),
    ('holdout', (day ->> 'control_successes')::float8 / nullif((day ->> 'control_outcomes')::float8, 0)),
    ('reference', (reference ->> 'rate')::float8)
) AS v (what, value)
