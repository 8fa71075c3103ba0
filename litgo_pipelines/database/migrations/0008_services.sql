-- One row an external service, shared by all processes (resources/circuit_breaker.py). Times are the database's clock.
CREATE TABLE litgo.circuit_breakers (
    service text PRIMARY KEY,
    failures int NOT NULL DEFAULT 0 CHECK (failures >= 0),  -- attempts in a row
    opened_at timestamptz,                  -- null: closed
    retry_at timestamptz,                   -- from here on there is a probe to be had
    probe uuid,                             -- who has it; ends with retry_at, so that a killed process keeps nothing
    last_failed_at timestamptz,
    last_reason text,
    state text GENERATED ALWAYS AS (
        CASE WHEN opened_at IS NULL THEN 'closed' WHEN probe IS NULL THEN 'open' ELSE 'half_open' END) STORED,
    CHECK ((opened_at IS NULL) = (retry_at IS NULL)),
    CHECK (probe IS NULL OR opened_at IS NOT NULL)
);
INSERT INTO litgo.circuit_breakers (service) VALUES ('openai'), ('docusign'), ('onesignal'), ('sendgrid');
