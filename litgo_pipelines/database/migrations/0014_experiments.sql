-- Experiments on ranking models: docs/experiments.md. Nothing here is ever changed: a correction is a new row.
CREATE TABLE litgo.experiments (
    experiment text PRIMARY KEY,            -- like 'ranker-v42': a version is tried once
    spec jsonb NOT NULL,                    -- rules, salts, holdout, plan of the ramp: fixed before the first exposure
    spec_sha256 text NOT NULL CHECK (spec_sha256 ~ '^[0-9a-f]{64}$'),
    control_version text,                   -- null: the hand weights
    treatment_version text NOT NULL,
    started_at timestamptz NOT NULL,
    actor text NOT NULL CHECK (actor <> ''),
    reason text NOT NULL CHECK (reason <> ''),
    run_id text NOT NULL
);

-- A stretch with one share treated. A new one moves clients only who were not exposed yet.
CREATE TABLE litgo.experiment_phases (
    experiment text NOT NULL REFERENCES litgo.experiments,
    phase int NOT NULL CHECK (phase > 0),
    treatment_points int NOT NULL CHECK (treatment_points BETWEEN 1 AND 9999),  -- basis points
    started_at timestamptz NOT NULL,
    actor text NOT NULL CHECK (actor <> ''),
    reason text NOT NULL CHECK (reason <> ''),
    PRIMARY KEY (experiment, phase)
);

-- The arm of a client, from the first exposure on for good; case_id: the case it happened with.
CREATE TABLE litgo.experiment_arms (
    experiment text NOT NULL,
    client_id uuid NOT NULL,
    arm text NOT NULL CHECK (arm IN ('treatment', 'control')),
    phase int NOT NULL,
    case_id uuid NOT NULL,
    first_exposed_at timestamptz NOT NULL,
    PRIMARY KEY (experiment, client_id),
    FOREIGN KEY (experiment, phase) REFERENCES litgo.experiment_phases
);
CREATE INDEX experiment_arms_in_order ON litgo.experiment_arms (experiment, first_exposed_at, client_id);

-- What came of a client's first case: when it happened, and the cutoff by which it had been seen.
CREATE TABLE litgo.experiment_outcomes (
    experiment text NOT NULL,
    client_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('accepted', 'signed', 'rating')),
    value double precision NOT NULL,        -- hours from exposure to acceptance or to the last signature; stars
    event_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (experiment, client_id, kind),
    FOREIGN KEY (experiment, client_id) REFERENCES litgo.experiment_arms,
    CHECK (event_at <= seen_at)
);

-- Closed cutoffs: everything a decision was made from, and the decision.
CREATE TABLE litgo.experiment_cutoffs (
    experiment text NOT NULL REFERENCES litgo.experiments,
    cutoff timestamptz NOT NULL,
    statistics jsonb NOT NULL,              -- decision.Cutoff
    decision jsonb NOT NULL,                -- decision.Decision
    held text,                              -- why the decision was not carried out: the next cutoff decides again
    PRIMARY KEY (experiment, cutoff)
);
CREATE INDEX experiment_cutoffs_newest ON litgo.experiment_cutoffs (cutoff);

CREATE TABLE litgo.experiment_ends (
    experiment text PRIMARY KEY REFERENCES litgo.experiments,
    outcome text NOT NULL CHECK (outcome IN ('promote', 'roll_back', 'halt', 'futile', 'horizon', 'stopped')),
    cutoff timestamptz,                     -- null: stopped by hand
    ended_at timestamptz NOT NULL,
    actor text NOT NULL CHECK (actor <> ''),
    reason text NOT NULL CHECK (reason <> ''),
    decision jsonb
);

CREATE TRIGGER experiments_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON litgo.experiments
    FOR EACH STATEMENT EXECUTE FUNCTION litgo.refuse_change();
CREATE TRIGGER experiment_phases_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON litgo.experiment_phases
    FOR EACH STATEMENT EXECUTE FUNCTION litgo.refuse_change();
CREATE TRIGGER experiment_arms_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON litgo.experiment_arms
    FOR EACH STATEMENT EXECUTE FUNCTION litgo.refuse_change();
CREATE TRIGGER experiment_outcomes_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON litgo.experiment_outcomes
    FOR EACH STATEMENT EXECUTE FUNCTION litgo.refuse_change();
CREATE TRIGGER experiment_cutoffs_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON litgo.experiment_cutoffs
    FOR EACH STATEMENT EXECUTE FUNCTION litgo.refuse_change();
CREATE TRIGGER experiment_ends_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON litgo.experiment_ends
    FOR EACH STATEMENT EXECUTE FUNCTION litgo.refuse_change();

-- A batch run again after a kill ranks by the same versions.
ALTER TABLE litgo.matching_batches
    ADD COLUMN experiment text,
    ADD COLUMN phase int,
    ADD COLUMN treatment_version text,
    ADD COLUMN holdout_version text;        -- null: nobody was held out; empty: by the hand weights
