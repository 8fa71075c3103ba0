-- Backups that were finished; an alert fires when the newest is older than 26 hours.
CREATE TABLE litgo.backups (
    name text PRIMARY KEY,
    made_at timestamptz NOT NULL,
    bytes bigint NOT NULL CHECK (bytes > 0)
);
