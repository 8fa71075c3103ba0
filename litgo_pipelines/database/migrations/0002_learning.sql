-- One row a retraining. Steps fill it in order, so a kill leaves the last finished step to go on from.
CREATE TABLE litgo.retrainings (
    root_run_id text PRIMARY KEY,           -- Dagster run; a re-execution keeps its root's row
    as_of timestamptz NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    snapshot_path text,
    snapshot_sha256 text,
    snapshot jsonb,                         -- rows, cases, label counts, watermark, exclusions
    watermark timestamptz,                  -- created_at of the newest matured review in the snapshot
    candidate_key text,                     -- hash of data and configuration
    bundle_path text,
    candidate jsonb,                        -- rounds, metrics per seed
    mlflow_run_id text,
    mlflow_version text,
    evaluation jsonb                        -- gate decision and its evidence
);
CREATE INDEX retrainings_started ON litgo.retrainings (started_at);

-- Append-only authority on which model version serves; MLflow aliases are a projection of it.
CREATE TABLE litgo.model_ledger (
    sequence bigint PRIMARY KEY CHECK (sequence > 0),
    transition text NOT NULL CHECK (transition IN ('candidate', 'champion', 'rejected')),
    transition_key text NOT NULL UNIQUE,
    version text NOT NULL,
    evidence jsonb NOT NULL,
    run_id text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE FUNCTION litgo.refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'litgo.% is append-only: append a correcting row instead', TG_TABLE_NAME; END $$;
CREATE TRIGGER model_ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON litgo.model_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION litgo.refuse_change();
