-- What came of a message (notifications/): rows are written as before and start as 'pending'.
ALTER TABLE litgo.outbox
    ADD COLUMN status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'sent', 'merged', 'superseded', 'dead')),
    ADD COLUMN delivery_id uuid,            -- the delivery that carries it, or carried it
    ADD COLUMN settled_at timestamptz,
    ADD COLUMN reason text,                 -- why it is dead; never an address or a name
    ADD COLUMN retried_at timestamptz;      -- its day begins again when a person lets a dead one go
CREATE INDEX outbox_pending ON litgo.outbox (recipient_id, message_id) WHERE status = 'pending';
CREATE INDEX outbox_delivery ON litgo.outbox (delivery_id) WHERE delivery_id IS NOT NULL;
CREATE INDEX outbox_dead ON litgo.outbox (settled_at) WHERE status = 'dead';

-- What goes out as one push or e-mail: the messages that waited for one person. Its id is the idempotency key.
CREATE TABLE litgo.deliveries (
    delivery_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    recipient_id uuid NOT NULL,
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'sent', 'empty', 'dead')),
    opened_at timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    attempts int NOT NULL DEFAULT 0,
    channel text CHECK (channel IN ('push', 'email')),      -- of the newest attempt
    in_doubt text CHECK (in_doubt IN ('push', 'email')),    -- may have arrived by it: set before an attempt is made
    in_doubt_since timestamptz,
    reason text,                            -- of the newest failure
    provider_id text,                       -- what the provider calls it
    finished_at timestamptz,
    claimed_by uuid,                        -- a lease: while it lasts nobody else touches the row. Database's clock
    lease_until timestamptz
);
-- In order: one delivery a person at a time, whoever delivers.
CREATE UNIQUE INDEX deliveries_one_open ON litgo.deliveries (recipient_id) WHERE status = 'open';
CREATE INDEX deliveries_next ON litgo.deliveries (next_attempt_at) WHERE status = 'open';
CREATE INDEX deliveries_finished ON litgo.deliveries (recipient_id, finished_at) WHERE status = 'sent';
