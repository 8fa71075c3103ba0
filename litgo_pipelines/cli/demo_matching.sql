SELECT count(*), coalesce(sum(candidates), 0), max(case_id::text),
    (SELECT count(*) FROM litgo.outbox WHERE kind = 'offer'),
    (
        SELECT string_agg(DISTINCT coalesce('model version ' || model_version, 'heuristic ranker'), ', ')
        FROM litgo.exposures
        WHERE arm IS DISTINCT FROM 'holdout'
    )
FROM litgo.matchings
