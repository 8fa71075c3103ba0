-- What the demo's matching did, and a case whose explanation shows the trade: the batch's lambda, the champion's ranking,
-- nobody by chance or for want of others; somebody more relevant gives way to somebody who has had less.
SELECT count(*), coalesce(sum(m.candidates), 0),
    (
        SELECT x.case_id::text
        FROM litgo.matchings x
        JOIN litgo.matching_batches b USING (batch_id)
        JOIN litgo.exposures e USING (case_id, round)
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE offered AND rank > 5) AS moved_up,
                count(*) FILTER (WHERE NOT offered AND rank <= 5) AS gave_way,
                count(*) FILTER (WHERE odd) AS odd, count(*) AS entries
            FROM (
                SELECT (entry ->> 'offered')::boolean AS offered, (entry ->> 'rank_by_relevance')::int AS rank,
                    entry ->> 'by_chance' = 'true' OR entry ?| ARRAY['nearest', 'first', 'over_day_limit', 'displaced'] AS odd
                FROM jsonb_array_elements(x.considered) AS entries (entry)
            ) AS each
        ) AS seen
        ORDER BY e.ranker <> 'model', x.lambda < (b.parameters -> 'rule' ->> 'weight')::float8, seen.odd > 0,
            least(seen.moved_up, seen.gave_way) = 0, x.radius_km IS NULL, seen.entries < 10,
            abs(seen.moved_up - 2), x.radius_km, x.case_id
        LIMIT 1
    ),
    (SELECT count(*) FROM litgo.outbox WHERE kind = 'offer'),
    (
        SELECT string_agg(DISTINCT coalesce('model version ' || model_version, 'heuristic ranker'), ', ')
        FROM litgo.exposures
        WHERE arm IS DISTINCT FROM 'holdout'
    )
FROM litgo.matchings m
