-- Requests of the last hour that were the champion's to rank, those it failed, the 95th percentile of the seconds it took for
-- the others, the share of imputed features, and the batches ever ranked by the heuristic because a model was broken. It failed
-- those of its batches that the heuristic ranked in the end, and whole batches when a model that cannot be used was counted
-- since; a registry that is down is not its fault.
WITH broken AS (
    SELECT coalesce(sum(value), 0) AS batches FROM litgo.metric_state
    WHERE name = 'ranker_fallback_total' AND labels = '{"reason": "broken"}'
),
before AS (                                 -- an hour ago, or when the first check was made
    SELECT coalesce(
        (SELECT broken_batches FROM litgo.quality_checks WHERE episode = %(episode)s
         AND checked_at <= %(at)s - interval '1 hour' ORDER BY checked_at DESC LIMIT 1),
        (SELECT broken_batches FROM litgo.quality_checks WHERE episode = %(episode)s ORDER BY checked_at LIMIT 1)
    ) AS batches
),
requests AS (
    SELECT x.ranker = 'hand_weights' AS failed, x.ranking_seconds, m.considered
    FROM litgo.exposures x
    JOIN litgo.matchings m ON m.case_id = x.case_id AND m.round = x.round
    JOIN litgo.matching_batches b USING (batch_id)
    CROSS JOIN broken CROSS JOIN before
    WHERE x.exposed_at > GREATEST(%(since)s, %(at)s - interval '1 hour') AND x.exposed_at <= %(at)s
      AND coalesce(x.arm, '') NOT IN ('holdout', 'treatment')
      AND (x.model_version = %(version)s OR x.ranker = 'hand_weights'
           AND (b.model_version = %(version)s OR b.model_version IS NULL AND broken.batches > before.batches))
)
SELECT count(*), count(*) FILTER (WHERE failed),
       percentile_cont(0.95) WITHIN GROUP (ORDER BY ranking_seconds) FILTER (WHERE NOT failed), avg((
    SELECT avg(jsonb_array_length(coalesce(e -> 'imputed', '[]'))) FROM jsonb_array_elements(considered) AS e
) / 8)::float8, (SELECT batches FROM broken)
FROM requests
