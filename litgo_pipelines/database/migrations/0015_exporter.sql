-- Runs that ended, read from Dagster's storage by the exporter: each is counted once, in the transaction that adds its row.
CREATE TABLE litgo.job_runs (
    run_id text PRIMARY KEY,
    job_name text NOT NULL,
    status text NOT NULL CHECK (status IN ('success', 'failure', 'canceled')),
    ended_at timestamptz NOT NULL
);
CREATE INDEX job_runs_newest ON litgo.job_runs (job_name, status, ended_at DESC);
