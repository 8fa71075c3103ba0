-- One row a triaged case: who decided what (intake/). A text is never kept here.
CREATE TABLE litgo.triage (
    case_id uuid PRIMARY KEY,
    as_of timestamptz NOT NULL,
    status text NOT NULL CHECK (status IN ('classified', 'review')),
    area text,                              -- null: left to a person
    subarea text,
    urgency_h double precision NOT NULL,
    complexity text NOT NULL,
    sources jsonb NOT NULL,                 -- field → client, person, openai, local, rule or default
    area_confidence double precision CHECK (area_confidence BETWEEN 0 AND 1),
    subarea_confidence double precision CHECK (subarea_confidence BETWEEN 0 AND 1),
    alternatives jsonb NOT NULL,            -- likeliest subareas: [{area, subarea, confidence}]
    classifier text,                        -- version of what classified
    reason text,                            -- why a person must look; kept after the decision
    reviewer text,
    reviewed_at timestamptz,
    CHECK (status = 'classified' OR reason IS NOT NULL),
    CHECK ((reviewer IS NULL) = (reviewed_at IS NULL))
);
CREATE INDEX triage_review ON litgo.triage (as_of) WHERE status = 'review';
CREATE INDEX triage_as_of ON litgo.triage (as_of);

-- Cases whose triage failed; after the third try they are in litgo.triage for review.
CREATE TABLE litgo.triage_failures (
    case_id uuid PRIMARY KEY,
    attempts int NOT NULL,
    reason text NOT NULL,                   -- the kind of error, never its message: that may quote the text
    first_failed_at timestamptz NOT NULL,
    last_failed_at timestamptz NOT NULL,
    retry_at timestamptz NOT NULL
);
