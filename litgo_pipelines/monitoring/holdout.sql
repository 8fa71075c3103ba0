-- The holdout's first outcomes beside the champion, as earlier checks of the episode saw them: outcomes, successes, and
-- whether the newest check completed them. No row without a check.
SELECT sum(control_outcomes)::int, sum(control_successes)::int, bool_or(newest)
FROM (
    SELECT control_outcomes, control_successes, checked_at = max(checked_at) OVER () AS newest,
           sum(control_outcomes) OVER (ORDER BY checked_at) - control_outcomes AS before
    FROM litgo.quality_checks WHERE episode = %(episode)s
) c
WHERE before < %(outcomes)s
HAVING sum(control_outcomes) >= %(outcomes)s
