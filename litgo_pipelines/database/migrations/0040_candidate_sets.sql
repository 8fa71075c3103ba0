-- Who could be chosen for a case, with what was known of them then: the most relevant fifty and the offered. Replays of the
-- allocation and calibrations read it; kept for RETENTION_DAYS.
CREATE TABLE litgo.candidate_sets (
    case_id uuid NOT NULL,
    round int NOT NULL CHECK (round > 0),
    matched_at timestamptz NOT NULL,
    lawyer_ids uuid[] NOT NULL,         -- by relevance
    features bytea NOT NULL,            -- matching/candidate_sets.py: compressed; a row per lawyer
    PRIMARY KEY (case_id, round)
);
CREATE INDEX candidate_sets_newest ON litgo.candidate_sets (matched_at);
