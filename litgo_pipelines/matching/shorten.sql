-- Gives the open offers with these ids these ends.
WITH shortened AS (
    UPDATE offers o SET expires_at = due.expires_at
    FROM unnest(%(ids)s::uuid[], %(ends)s::timestamptz[]) AS due (id, expires_at)
    WHERE o.id = due.id AND o.status = 'pending'
    RETURNING o.id, o.case_id, o.lawyer_id, o.expires_at
), told AS (  -- what is not sent yet says the new end; nobody is told twice
    UPDATE litgo.outbox m SET payload = m.payload || jsonb_build_object('expires_at', s.expires_at)
    FROM shortened s WHERE m.dedup_key = 'offer:' || s.case_id || ':' || s.lawyer_id AND m.status = 'pending'
)
SELECT count(*) FROM shortened
