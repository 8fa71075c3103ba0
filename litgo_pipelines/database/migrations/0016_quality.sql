-- The quality monitor: docs/experiments.md. An episode is one stay of a version in service, named by the ledger's entry that
-- began it. Nothing here is ever changed.
CREATE TABLE litgo.quality_references (
    episode bigint PRIMARY KEY REFERENCES litgo.model_ledger,
    version text NOT NULL,
    reference jsonb NOT NULL,               -- monitor.Reference: rates, where they are from, hours until an outcome is final
    chosen_at timestamptz NOT NULL,
    run_id text NOT NULL
);

-- One row a check that saw something: what it saw, the state it leaves for the next, and what it decided.
CREATE TABLE litgo.quality_checks (
    episode bigint NOT NULL REFERENCES litgo.model_ledger,
    checked_at timestamptz NOT NULL,
    version text NOT NULL,
    outcomes int NOT NULL,                  -- final since the last check: the champion's, and the holdout's
    successes int NOT NULL,
    control_outcomes int NOT NULL,
    control_successes int NOT NULL,
    cusum_before double precision NOT NULL, -- against the reference
    cusum double precision NOT NULL,
    observation jsonb NOT NULL,             -- counts of hour and day, requests, errors, share of null features
    state jsonb NOT NULL,                   -- monitor.Memory
    alarms jsonb NOT NULL,
    decision text NOT NULL CHECK (decision IN ('serves', 'roll_back', 'excused', 'learns')),
    broken_batches double precision NOT NULL,   -- ranker_fallback_total, broken, at the check
    run_id text NOT NULL,
    PRIMARY KEY (episode, checked_at)
);
CREATE INDEX quality_checks_newest ON litgo.quality_checks (checked_at);

-- A champion that must go: written with the check that found it, so that whoever comes next finishes what a kill cut off.
CREATE TABLE litgo.quality_incidents (
    incident text PRIMARY KEY,
    episode bigint NOT NULL UNIQUE REFERENCES litgo.model_ledger,
    version text NOT NULL,
    kind text NOT NULL,                     -- of the first alarm
    reason text NOT NULL,
    opened_at timestamptz NOT NULL
);

CREATE TABLE litgo.quality_incident_ends (
    incident text PRIMARY KEY REFERENCES litgo.quality_incidents,
    outcome text NOT NULL CHECK (outcome IN ('rolled_back', 'superseded')),   -- superseded: somebody was faster
    sequence bigint REFERENCES litgo.model_ledger,
    ended_at timestamptz NOT NULL
);

CREATE TRIGGER quality_references_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON litgo.quality_references
    FOR EACH STATEMENT EXECUTE FUNCTION litgo.refuse_change();
CREATE TRIGGER quality_checks_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON litgo.quality_checks
    FOR EACH STATEMENT EXECUTE FUNCTION litgo.refuse_change();
CREATE TRIGGER quality_incidents_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON litgo.quality_incidents
    FOR EACH STATEMENT EXECUTE FUNCTION litgo.refuse_change();
CREATE TRIGGER quality_incident_ends_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON litgo.quality_incident_ends
    FOR EACH STATEMENT EXECUTE FUNCTION litgo.refuse_change();
