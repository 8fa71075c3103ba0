-- What is known of each lawyer beyond the profile's place and areas, as of the newest refresh (evidence/).
CREATE TABLE litgo.lawyer_evidence (
    lawyer_id uuid PRIMARY KEY,
    as_of timestamptz NOT NULL,             -- the refresh that last changed the row
    concluded double precision NOT NULL,    -- cases that ended, of which
    won double precision NOT NULL,          -- … won or settled
    years double precision,                 -- of practice; null: no curriculum
    publications double precision NOT NULL,
    degrees jsonb NOT NULL,                 -- area → highest level: 1 specialist, 2 master, 3 doctor
    response_h double precision,
    stars double precision,                 -- mean of the reviews; null: none
    reviews int NOT NULL,
    softskill double precision              -- sentiment of the reviews' comments, 0 to 1; null: no data
);
CREATE TABLE litgo.lawyer_subarea_evidence (
    lawyer_id uuid NOT NULL,
    area text NOT NULL,
    subarea text NOT NULL,
    concluded double precision NOT NULL CHECK (concluded > 0),
    won double precision NOT NULL,
    PRIMARY KEY (area, subarea, lawyer_id)
);

-- The instant of the newest refresh: one row, none before the first.
CREATE TABLE litgo.evidence_refresh (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    as_of timestamptz NOT NULL
);

-- Each comment is scored once, and again when it or the scoring changes.
CREATE TABLE litgo.review_sentiment (
    review_id uuid PRIMARY KEY,
    digest uuid NOT NULL,                   -- MD5 of the comment
    version text NOT NULL,                  -- of lexicon and rules
    score numeric(4, 3)                     -- 0 to 1; null: the comment says nothing either way
);

-- Lower case without accents, whichever way they are encoded, and without the spaces around.
CREATE FUNCTION litgo.folded(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN lower(regexp_replace(normalize(btrim(value), NFD), '[\u0300-\u036f]', '', 'g'));
