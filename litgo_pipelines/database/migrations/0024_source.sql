-- What the views in litgo_source were made from, so that a command without LITGO_MARKETPLACE_MAPPING makes the same ones.
CREATE TABLE litgo.source_mapping (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    name text NOT NULL,                     -- of a packaged mapping, or the path it was read from
    text text NOT NULL,
    views_sha256 text NOT NULL,             -- of the statements that made the views
    made_at timestamptz NOT NULL DEFAULT now()
);
