-- The life of a model version: docs/model-lifecycle.md has the table of transitions.
-- 'rejected' is in old ledgers and reads as 'archived'. recorded_at is the instant a decision was taken for.
ALTER TABLE litgo.model_ledger
    DROP CONSTRAINT model_ledger_transition_check,
    ADD CONSTRAINT model_ledger_transition_check CHECK (transition IN (
        'candidate', 'challenger', 'champion', 'archived', 'rolled_back', 'freeze_lifted', 'rejected')),
    ADD COLUMN actor text,                  -- who decided: a stage of the pipelines, or a person
    ADD COLUMN reason text,
    ADD COLUMN successor text,              -- of a version rolled back: what serves again; null: the hand weights
    ADD CONSTRAINT model_ledger_says_who_and_why CHECK (transition IN ('candidate', 'champion', 'rejected')
        OR (coalesce(actor, '') <> '' AND coalesce(reason, '') <> '')),
    ADD CONSTRAINT model_ledger_successor CHECK (successor IS NULL OR transition = 'rolled_back');

-- The entry by which the version that serves now became champion; no row while the hand weights serve.
CREATE VIEW litgo.current_champion AS
SELECT c.* FROM litgo.model_ledger AS c
JOIN (SELECT CASE transition WHEN 'champion' THEN version ELSE successor END AS version FROM litgo.model_ledger
      WHERE transition IN ('champion', 'rolled_back') ORDER BY sequence DESC LIMIT 1) AS serving USING (version)
WHERE c.transition = 'champion'
ORDER BY c.sequence DESC LIMIT 1;

-- What people must see, written in the transaction of what causes it; the same key is told once.
CREATE TABLE litgo.alerts (
    alert_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_key text NOT NULL UNIQUE,
    kind text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    subject text NOT NULL,                  -- what it is about, like 'model 7'
    text text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX alerts_newest ON litgo.alerts (created_at);
CREATE TRIGGER alerts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON litgo.alerts
    FOR EACH STATEMENT EXECUTE FUNCTION litgo.refuse_change();

-- Up to which entry MLflow shows the ledger, and when that was last compared. One row.
CREATE TABLE litgo.model_projection (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    sequence bigint NOT NULL,
    checked_at timestamptz NOT NULL
);
