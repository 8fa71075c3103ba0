-- Counters and histogram buckets as rows, incremented in the transaction that does the work (observability/metrics.py).
CREATE TABLE litgo.metric_state (
    name text NOT NULL,
    labels jsonb NOT NULL,
    value double precision NOT NULL,
    PRIMARY KEY (name, labels)
) WITH (fillfactor = 50);                   -- the same rows again and again: room to update them in place
