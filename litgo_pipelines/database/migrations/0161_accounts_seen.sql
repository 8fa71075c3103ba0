-- What lawyers had written as their registration numbers when accounts of one lawyer were last looked for.
CREATE TABLE litgo.accounts_seen (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    fingerprint text NOT NULL               -- as equity/accounts_seen.sql makes it
);
