-- What never goes to another company (intake/sensitive.py). Of a triaged case: why its text stays, by what it says.
ALTER TABLE litgo.triage ADD COLUMN local_only text CHECK (local_only IN ('area', 'text'));

-- Texts that are not sent to be embedded, each with the reason of the newest run; gone when the reason is.
CREATE TABLE litgo.withheld_texts (
    text_hash bytea PRIMARY KEY CHECK (octet_length(text_hash) = 32),
    reason text NOT NULL CHECK (reason IN ('no_consent', 'area', 'text')),
    as_of timestamptz NOT NULL
);
