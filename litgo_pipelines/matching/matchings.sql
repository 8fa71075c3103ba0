-- Every round of a case as it was matched, oldest first.
SELECT m.case_id::text, m.round, m.matched_at, m.candidates, m.radius_km, m.lambda,
    (b.parameters -> 'rule' ->> 'weight')::float8, m.pool_load, e.ranker, e.model_version,
    coalesce(w.weights_used, '{}'), w.preset_used, m.considered
FROM litgo.matchings m
JOIN litgo.matching_batches b USING (batch_id)
JOIN litgo.exposures e USING (case_id, round)
LEFT JOIN case_matches w ON w.case_id = m.case_id AND w.lawyer_id = (m.considered -> 0 ->> 'lawyer_id')::uuid
WHERE m.case_id::text = %s
ORDER BY m.round
