-- When the recording began, and who was seen since an instant.
CREATE INDEX lawyer_availability_began ON litgo.lawyer_availability (valid_from);

-- Cases that arrived in the window of the newest night, by pool and day: what a share of the demand is computed from.
CREATE TABLE litgo.pool_demand (
    starts timestamptz NOT NULL,
    ends timestamptz NOT NULL CHECK (ends > starts),
    area text NOT NULL,                     -- as litgo.area_name writes it
    state text NOT NULL,                    -- of the case; '??' for a case that is served from anywhere
    cases int NOT NULL CHECK (cases > 0),
    PRIMARY KEY (starts, area, state)
);

-- The newest night whose demand is in pool_demand: also of a night without a case.
CREATE TABLE litgo.demand_night (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    as_of timestamptz NOT NULL
);

-- Accounts with one registration number are one lawyer; the oldest stands for all. Those with several only.
CREATE TABLE litgo.lawyer_accounts (
    lawyer_id uuid PRIMARY KEY,
    person_id uuid NOT NULL
);
CREATE INDEX lawyer_accounts_person ON litgo.lawyer_accounts (person_id);
