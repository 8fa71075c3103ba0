-- Rows of each source view when they were last as expected: a fall by more than half waits for a person.
CREATE TABLE litgo.source_counts (
    table_name text PRIMARY KEY,
    rows bigint NOT NULL,
    counted_at timestamptz NOT NULL
);
