-- How many people there is something to do for now; stops counting at a thousand.
SELECT count(*) FROM (
    SELECT d.recipient_id FROM litgo.deliveries d
    WHERE d.status = 'open'
      AND (d.next_attempt_at <= %(as_of)s AND (d.lease_until IS NULL OR d.lease_until <= clock_timestamp())
           OR d.next_attempt_at > %(as_of)s + interval '2 hours'  -- claim.sql has it not wait any more
           OR d.lease_until > clock_timestamp() + interval '2 hours')
    UNION
    SELECT o.recipient_id FROM litgo.outbox o
    WHERE o.status = 'pending'
      AND NOT EXISTS (SELECT FROM litgo.deliveries d WHERE d.recipient_id = o.recipient_id AND d.status = 'open')
      AND NOT EXISTS (
          SELECT FROM litgo.deliveries d
          WHERE d.recipient_id = o.recipient_id AND d.status = 'accepted' AND o.kind <> 'public_numbers'
            AND d.finished_at > %(as_of)s - %(cooldown)s * interval '1 minute' AND d.finished_at <= %(as_of)s)
    LIMIT 1000
) AS due
