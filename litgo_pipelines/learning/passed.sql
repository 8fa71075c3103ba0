-- Candidates that passed the gate and are candidates still, with the root run of their retraining; the newest first.
SELECT r.root_run_id, r.mlflow_version FROM litgo.retrainings AS r
WHERE r.evaluation -> 'decision' ->> 'outcome' = 'passed'
  AND (SELECT l.transition FROM litgo.model_ledger AS l WHERE l.version = r.mlflow_version AND l.transition <> 'sealed'
       ORDER BY l.sequence DESC LIMIT 1) = 'candidate'
ORDER BY r.started_at DESC, r.root_run_id
