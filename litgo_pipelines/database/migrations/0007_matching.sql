-- Calibrated parameters of the allocation; the newest version is used, each matching says which one it was.
CREATE TABLE litgo.allocation_parameters (
    version int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    as_of timestamptz NOT NULL UNIQUE,
    lambda double precision NOT NULL CHECK (lambda >= 0),
    evidence jsonb NOT NULL,                -- the replay: cases, lawyers, Gini and relevance kept at each lambda tried
    run_id text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);

-- A batch freezes what its offers depend on: run again after a kill it makes the same ones. One is open at a time.
CREATE TABLE litgo.matching_batches (
    batch_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    as_of timestamptz NOT NULL,
    case_ids uuid[] NOT NULL,               -- in the order of their turn: created_at, id
    rounds int[] NOT NULL,
    parameters jsonb NOT NULL,              -- rule, exploration, radii, preset, lambda's version
    ranker text NOT NULL CHECK (ranker IN ('model', 'hand_weights')),
    model_version text,
    run_id text NOT NULL,
    finished_at timestamptz
);
CREATE UNIQUE INDEX matching_batches_one_open ON litgo.matching_batches ((true)) WHERE finished_at IS NULL;

-- One row a case and round: the decision, written in one transaction with its matches and offers.
CREATE TABLE litgo.matchings (
    case_id uuid NOT NULL,
    round int NOT NULL CHECK (round > 0),
    batch_id bigint NOT NULL REFERENCES litgo.matching_batches,
    matched_at timestamptz NOT NULL,
    candidates int NOT NULL,                -- eligible lawyers
    radius_km double precision,             -- null: served from anywhere
    lambda double precision NOT NULL,       -- used for this case, at most the batch's
    pool_load double precision NOT NULL,    -- the pool's mean load
    considered jsonb NOT NULL,              -- the offered and the next five, as `litgo explain` shows them
    PRIMARY KEY (case_id, round)
);
CREATE INDEX matchings_batch ON litgo.matchings (batch_id);
CREATE INDEX matchings_newest ON litgo.matchings (matched_at);

-- Whose request was ranked by what; experiment and arm are null outside an experiment.
CREATE TABLE litgo.exposures (
    case_id uuid NOT NULL,
    round int NOT NULL,
    client_id uuid NOT NULL,
    ranker text NOT NULL,
    model_version text,
    experiment text,
    arm text,
    exposed_at timestamptz NOT NULL,
    PRIMARY KEY (case_id, round)
);
CREATE INDEX exposures_newest ON litgo.exposures (exposed_at);
CREATE INDEX exposures_client ON litgo.exposures (client_id, exposed_at);

-- Cases that could not be matched; `dead` after the third try, until a person lets them go again.
CREATE TABLE litgo.matching_failures (
    case_id uuid PRIMARY KEY,
    attempts int NOT NULL,
    reason text NOT NULL,
    first_failed_at timestamptz NOT NULL,
    last_failed_at timestamptz NOT NULL,
    retry_at timestamptz NOT NULL,
    dead boolean NOT NULL
);

-- Messages to deliver, written with what causes them. Ids only: names and addresses are read when it is sent.
CREATE TABLE litgo.outbox (
    message_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    recipient_id uuid NOT NULL,
    dedup_key text NOT NULL UNIQUE,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL
);
