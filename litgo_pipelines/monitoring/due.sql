-- Whether a check would see anything: an incident nobody finished, or, while a model serves, a request or a final outcome
-- since the last check.
WITH serving AS (
    SELECT sequence AS episode, CASE transition WHEN 'champion' THEN version ELSE successor END AS version,
           recorded_at AS since
    FROM litgo.model_ledger WHERE transition IN ('champion', 'rolled_back') ORDER BY sequence DESC LIMIT 1
),
episode AS (
    SELECT s.*, coalesce((r.reference ->> 'outcome_hours')::float8 * interval '1 hour', %(term)s) AS term,
           coalesce((SELECT max(checked_at) FROM litgo.quality_checks c WHERE c.episode = s.episode
                     AND checked_at <= %(at)s), s.since) AS last
    FROM serving s LEFT JOIN litgo.quality_references r USING (episode)
    WHERE s.version IS NOT NULL
)
SELECT EXISTS (
    SELECT FROM litgo.quality_incidents i
    WHERE NOT EXISTS (SELECT FROM litgo.quality_incident_ends e WHERE e.incident = i.incident)
) OR EXISTS (
    SELECT FROM episode n JOIN litgo.exposures x ON x.exposed_at > n.last AND x.exposed_at <= %(at)s
) OR EXISTS (
    SELECT FROM episode n JOIN litgo.exposures x
        ON x.exposed_at > GREATEST(n.since, n.last - n.term) AND x.exposed_at <= %(at)s - n.term
    WHERE n.last < %(at)s AND x.round = 1 AND (x.model_version = n.version OR x.arm = 'holdout')
)
