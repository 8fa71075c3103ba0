-- Up to when runs are counted, asked every few seconds.
CREATE INDEX job_runs_ended ON litgo.job_runs (ended_at);
