-- The newest closed cutoff of a layer with its experiment, and the utilisation of available lawyers on the newest night.
SELECT c.experiment, coalesce('version ' || e.control_version, %(heuristic)s), e.treatment_version, e.spec, e.spec -> 'rules',
    c.statistics, c.held, CASE x.outcome WHEN 'stopped' THEN x.reason END,
    (
        SELECT sum(h.cases_30d)::float8 / nullif(sum(h.capacidade_mensal), 0)
        FROM lawyers l
        JOIN litgo.equity_history h ON h.lawyer_id = l.id
        WHERE l.is_available AND h.night = (SELECT max(night) FROM litgo.equity_history)
    )
FROM litgo.experiment_cutoffs c
JOIN litgo.experiments e USING (experiment)
LEFT JOIN litgo.experiment_ends x USING (experiment)
WHERE e.layer = %(layer)s
ORDER BY c.cutoff DESC
LIMIT 1
