-- Checks by the hour: outcomes and successes of champion and holdout, and at its end both CUSUMs and the reference.
SELECT date_trunc('hour', checked_at), sum(outcomes), sum(successes), sum(control_outcomes), sum(control_successes),
    (array_agg(cusum ORDER BY checked_at DESC))[1],
    (array_agg((state -> 'against_control' ->> 'cusum')::float8 ORDER BY checked_at DESC))[1],
    (array_agg((r.reference ->> 'rate')::float8 ORDER BY checked_at DESC))[1]
FROM litgo.quality_checks
LEFT JOIN litgo.quality_references r USING (episode)
WHERE checked_at > %s AND checked_at <= %s
GROUP BY 1
ORDER BY 1
