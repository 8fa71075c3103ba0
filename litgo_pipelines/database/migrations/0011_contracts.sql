-- One row a contract that was, or could not be, brought to signature (contracts/).
CREATE TABLE litgo.contract_requests (
    contract_id uuid PRIMARY KEY,
    transaction_id uuid NOT NULL UNIQUE,    -- what DocuSign knows the contract by; made of the contract's id
    status text NOT NULL CHECK (status IN ('refused', 'sending', 'sent', 'manual', 'signed', 'canceled')),
    method text CHECK (method IN ('docusign', 'manual')),
    reason text,                            -- why refused, or why by hand
    requested_at timestamptz NOT NULL,      -- instant of the document
    claim uuid,                             -- who is sending it …
    claimed_until timestamptz,              -- … until then (the database's clock): after a kill the next one goes on
    envelope_id text,
    due_at timestamptz,                     -- of a signature by hand
    checks int NOT NULL DEFAULT 0,          -- looks at DocuSign, or at a refused contract, so far
    next_check_at timestamptz,              -- null: nothing more to look for
    CHECK (status <> 'refused' OR reason IS NOT NULL AND next_check_at IS NOT NULL),
    CHECK ((status = 'sending') = (claim IS NOT NULL) AND (claim IS NULL) = (claimed_until IS NULL)),
    CHECK (status <> 'sent' OR method = 'docusign'),
    CHECK (status <> 'manual' OR method = 'manual'),
    CHECK (method <> 'docusign' OR envelope_id IS NOT NULL),
    CHECK (method <> 'manual' OR due_at IS NOT NULL)
);
CREATE INDEX contract_requests_check ON litgo.contract_requests (next_check_at) WHERE next_check_at IS NOT NULL;
CREATE INDEX contract_requests_sending ON litgo.contract_requests (claimed_until) WHERE status = 'sending';
CREATE INDEX contract_requests_manual ON litgo.contract_requests (due_at) WHERE status = 'manual';

-- The document as it was sent. Here and not in a file, so that every machine has it.
CREATE TABLE litgo.contract_documents (
    contract_id uuid PRIMARY KEY REFERENCES litgo.contract_requests,
    pdf bytea NOT NULL,
    sha256 text NOT NULL CHECK (sha256 = encode(sha256(pdf), 'hex')),
    created_at timestamptz NOT NULL
);

-- Who did what with a contract, and when.
CREATE TABLE litgo.contract_events (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    contract_id uuid NOT NULL,
    event text NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,                    -- docusign, pipelines, or the person
    details jsonb NOT NULL,
    UNIQUE (contract_id, event)             -- what happened once is told once
);
CREATE TRIGGER contract_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON litgo.contract_events
    FOR EACH STATEMENT EXECUTE FUNCTION litgo.refuse_change();
