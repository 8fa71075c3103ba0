-- Whether a running experiment has a cutoff to close, and whether a challenger may wait for its experiment.
SELECT
    EXISTS (
        SELECT FROM litgo.experiments e
        WHERE NOT EXISTS (SELECT FROM litgo.experiment_ends x WHERE x.experiment = e.experiment)
          AND {newest} > {closed}
    ),
    EXISTS (
        SELECT FROM litgo.model_ledger c
        WHERE c.transition = 'challenger'
          AND NOT EXISTS (SELECT FROM litgo.model_ledger l WHERE l.version = c.version AND l.sequence > c.sequence)
          AND NOT EXISTS (
              SELECT FROM litgo.experiments e LEFT JOIN litgo.experiment_ends x USING (experiment)
              WHERE e.treatment_version = c.version AND x.experiment IS NULL
          )
          AND NOT EXISTS (
              SELECT FROM litgo.alerts a
              WHERE a.kind = %(refused)s AND a.subject = 'model ' || c.version
                AND a.created_at > %(as_of)s - %(retry)s
          )
    )
