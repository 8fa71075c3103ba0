-- An envelope has a term like a signature by hand; parties are reminded before it, the team is told after it.
ALTER TABLE litgo.contract_requests
    ADD COLUMN signers text[],              -- digests of the parties' names and addresses as they were sent
    ADD COLUMN failed_looks int NOT NULL DEFAULT 0,  -- in a row; the pause grows with them
    ADD COLUMN reminded_at timestamptz,     -- of the present term
    ADD COLUMN overdue_told_at timestamptz; -- the team, that a signature by hand is past its term
CREATE INDEX contract_requests_due ON litgo.contract_requests (due_at) WHERE status IN ('sent', 'manual');
DROP INDEX litgo.contract_requests_manual;

-- When the day of an instant, as it is told to people, is over for everybody: Acre is the last to see it end.
CREATE FUNCTION litgo.day_end(at timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (date_trunc('day', at AT TIME ZONE 'America/Sao_Paulo') + interval '1 day') AT TIME ZONE 'America/Rio_Branco';
