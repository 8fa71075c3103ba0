-- Evidence at the cutoffs of an experiment, oldest first; thinned to about 300, the newest among them.
SELECT cutoff, coalesce(decision ->> 'log_e_claim', decision ->> 'log_e_better')::float8, (decision ->> 'log_e_worse')::float8,
    (decision ->> 'log_e_mismatch')::float8
FROM (
    SELECT *, row_number() OVER (ORDER BY cutoff DESC) - 1 AS back, count(*) OVER () AS cutoffs
    FROM litgo.experiment_cutoffs
    WHERE experiment = %s
) c
WHERE back %% GREATEST(1, cutoffs / 300) = 0
ORDER BY cutoff
