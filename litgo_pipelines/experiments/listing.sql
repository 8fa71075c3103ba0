-- Experiments, the newest first, with their newest phase, how they ended, and the decision at their newest cutoff.
SELECT e.experiment, e.layer, e.treatment_version, coalesce(e.control_version, %(heuristic)s), e.started_at,
       x.ended_at, coalesce(x.outcome, %(runs)s), coalesce(x.reason, e.reason), p.points, p.phases, e.spec,
       (SELECT count(*) FROM litgo.experiment_arms a WHERE a.experiment = e.experiment), c.decision
FROM litgo.experiments e
CROSS JOIN LATERAL (
    SELECT count(*) AS phases, (array_agg(treatment_points ORDER BY phase DESC))[1] AS points
    FROM litgo.experiment_phases WHERE experiment = e.experiment
) p
LEFT JOIN litgo.experiment_ends x ON x.experiment = e.experiment
LEFT JOIN LATERAL (
    SELECT decision FROM litgo.experiment_cutoffs WHERE experiment = e.experiment ORDER BY cutoff DESC LIMIT 1
) c ON true
WHERE %(experiment)s IS NULL OR e.experiment = %(experiment)s
ORDER BY e.started_at DESC, e.experiment
