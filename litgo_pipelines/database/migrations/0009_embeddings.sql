-- What texts mean (embeddings/): one row a text and model, found by the hash of the text. Never the text itself.
CREATE TABLE litgo.text_embeddings (
    text_hash bytea NOT NULL CHECK (octet_length(text_hash) = 32),  -- SHA-256 of the text's UTF-8
    model text NOT NULL,
    dimension int NOT NULL CHECK (dimension > 0),
    vector bytea NOT NULL CHECK (octet_length(vector) = 4 * dimension),  -- float32, little endian, of length 1
    as_of timestamptz NOT NULL,             -- the run's instant
    PRIMARY KEY (text_hash, model, dimension)
);

CREATE TABLE litgo.text_stems (
    text_hash bytea NOT NULL CHECK (octet_length(text_hash) = 32),
    version text NOT NULL,                  -- of what a stem is
    bag bytea NOT NULL CHECK (octet_length(bag) % 8 = 0),  -- uint32, little endian: hashes ascending, then their counts
    PRIMARY KEY (text_hash, version)
);
