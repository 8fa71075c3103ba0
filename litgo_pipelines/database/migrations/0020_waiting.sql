-- Cases nobody can be offered now: nothing is wrong with them. The row goes when the case is matched again.
CREATE TABLE litgo.case_waits (
    case_id uuid PRIMARY KEY,
    reason text NOT NULL CHECK (reason IN ('nobody', 'rounds_over')),
    round int NOT NULL CHECK (round > 0),   -- the one it waits for
    since timestamptz NOT NULL,
    looks int NOT NULL CHECK (looks > 0),
    looked_at timestamptz NOT NULL,
    rest_until timestamptz NOT NULL,        -- until then no change wakes it
    next_look_at timestamptz,               -- looked at then in any case; null: only after a change
    case_digest text NOT NULL,              -- of what the client asks for: an edited case is another question
    CHECK (reason = 'rounds_over' OR next_look_at IS NOT NULL)
);
CREATE INDEX case_waits_next ON litgo.case_waits (next_look_at);

-- When a lawyer could be offered a case, whichever: one row a stretch of time, as it was seen.
CREATE TABLE litgo.lawyer_availability (
    lawyer_id uuid NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_to timestamptz CHECK (valid_to >= valid_from),  -- null: still
    PRIMARY KEY (lawyer_id, valid_from)
);
CREATE UNIQUE INDEX lawyer_availability_open ON litgo.lawyer_availability (lawyer_id) WHERE valid_to IS NULL;

-- What the client asks for, as one value to compare.
CREATE FUNCTION litgo.case_digest(area text, subarea text, complexity text, description text, place text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN md5(jsonb_build_array(area, subarea, complexity, description, place)::text);
