-- Contracts to be signed that nobody will look at again and nobody was told of. On paper: both parties and the team have
-- the document with its due date, after which the team is told once more. An envelope that is looked at is at its end by
-- its due date. A document that is not ours was sent by who made it.
SELECT c.id::text,
       coalesce(CASE WHEN r.status = 'manual' THEN r.due_at END, r.next_check_at, r.claimed_until, c.created_at) AS due_at
FROM exported_contracts c
LEFT JOIN litgo.contract_requests r ON r.contract_id = c.id
WHERE (c.created_at > %(as_of)s AND c.created_at <= %(as_of)s::timestamptz + interval '1 day') IS NOT TRUE
  AND (c.status IS NULL OR c.status NOT IN ('active', 'closed', 'canceled')) AND CASE
    WHEN (c.status = 'pending-signature') IS NOT TRUE THEN NOT EXISTS (
        SELECT FROM litgo.told t WHERE t.kind = 'state_unknown' AND t.subject = 'contracts:' || left(coalesce(c.status, ''), 40))
        AND coalesce(litgo.instant(c.created_at), '-infinity') < %(as_of)s::timestamptz - interval '2 hours'
    WHEN r.contract_id IS NULL THEN NOT c.documented
        AND (litgo.instant(c.created_at) BETWEEN %(as_of)s::timestamptz - interval '2 hours' AND %(as_of)s) IS NOT TRUE
    WHEN r.status = 'manual' THEN r.overdue_told_at IS NULL
        AND litgo.day_end(r.due_at) < %(as_of)s::timestamptz - interval '2 hours'
    WHEN r.status = 'sending' THEN r.claimed_until < %(as_of)s::timestamptz - interval '2 hours'
    WHEN r.status IN ('refused', 'sent') THEN coalesce(r.next_check_at < %(as_of)s::timestamptz - interval '2 hours', true)
    ELSE true
END
