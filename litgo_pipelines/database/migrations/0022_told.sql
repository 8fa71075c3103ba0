-- Who was told of what waits for a person. Outlasts the messages themselves, which retention deletes.
CREATE TABLE litgo.told (
    kind text NOT NULL,                     -- of the message: notifications/outbox.py
    subject text NOT NULL,                  -- a case's id, a message's
    recipient_id uuid NOT NULL,
    told_at timestamptz NOT NULL,
    PRIMARY KEY (kind, subject)
);
