-- In the order in which rows became visible (embeddings/store.py writes one transaction at a time), so that a number says
-- what there was at a moment: a batch of matching reads the same vectors again after a kill.
ALTER TABLE litgo.text_embeddings ADD COLUMN sequence bigint GENERATED ALWAYS AS IDENTITY;
CREATE UNIQUE INDEX text_embeddings_sequence ON litgo.text_embeddings (sequence);
CREATE INDEX text_embeddings_model ON litgo.text_embeddings (model);

-- Texts that a model's service refuses for what they are; not asked for again until the row is deleted.
CREATE TABLE litgo.unembeddable_texts (
    text_hash bytea NOT NULL CHECK (octet_length(text_hash) = 32),
    model text NOT NULL,
    status int NOT NULL,                    -- HTTP status of the refusal
    as_of timestamptz NOT NULL,
    PRIMARY KEY (text_hash, model)
);

ALTER TABLE litgo.matching_batches
    ADD COLUMN similarity_watermark bigint, -- newest sequence of litgo.text_embeddings; null: ranked without similarity
    ADD COLUMN similarity_space text;       -- null: not chosen yet; empty: there was none
