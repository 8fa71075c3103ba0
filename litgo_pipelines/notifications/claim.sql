-- From waiting messages to the deliveries this process (token) has for itself, in steps of one transaction.

-- No pause is longer than an hour and no lease than minutes: these were written while a clock was wrong.
UPDATE litgo.deliveries SET next_attempt_at = LEAST(next_attempt_at, %(as_of)s), claimed_by = NULL, lease_until = NULL
WHERE status = 'open'
  AND (next_attempt_at > %(as_of)s + interval '2 hours' OR lease_until > clock_timestamp() + interval '2 hours');

-- So was a message of the future. Its day begins now, or it would be long before anybody heard that it does not arrive.
UPDATE litgo.outbox SET retried_at = %(as_of)s
WHERE status = 'pending' AND coalesce(retried_at, created_at) > %(as_of)s + interval '2 hours';

-- What nobody needs to hear any more: an offer that was answered, has expired or is of a case that waits for nobody, a case
-- that waits no longer, a contract that needs no signature.
UPDATE litgo.outbox o SET status = 'superseded', settled_at = %(as_of)s
WHERE o.status = 'pending'
  AND (o.kind = 'offer' AND NOT EXISTS (
           SELECT FROM offers f JOIN cases c ON c.id = f.case_id AND c.status = 'pending_assignment'
           WHERE f.id = (o.payload ->> 'offer_id')::uuid AND f.status = 'pending' AND f.expires_at > %(as_of)s)
       OR o.kind = 'case_waits' AND NOT EXISTS (
           SELECT FROM litgo.case_waits v WHERE v.case_id = (o.payload ->> 'case_id')::uuid)
       OR o.kind IN ('contract_to_sign', 'contract_manual', 'contract_reminder', 'contract_overdue', 'contract_refused')
          AND NOT EXISTS (
           SELECT FROM contracts c
           WHERE c.id = (o.payload ->> 'contract_id')::uuid AND c.status = 'pending-signature')
       OR (o.kind = 'contract_to_sign' OR o.kind = 'contract_reminder' AND o.payload ->> 'method' = 'docusign')
          AND EXISTS (  -- it is signed on paper by now
           SELECT FROM litgo.contract_requests r
           WHERE r.contract_id = (o.payload ->> 'contract_id')::uuid AND r.status = 'manual')
       OR o.kind = 'contract_refused' AND EXISTS (  -- mended
           SELECT FROM litgo.contract_requests r
           WHERE r.contract_id = (o.payload ->> 'contract_id')::uuid AND r.status <> 'refused'))
  AND NOT EXISTS (
      SELECT FROM litgo.deliveries d WHERE d.delivery_id = o.delivery_id AND d.lease_until > clock_timestamp());

UPDATE litgo.deliveries d
SET status = 'empty', finished_at = %(as_of)s
WHERE d.status = 'open' AND (d.lease_until IS NULL OR d.lease_until <= clock_timestamp())
  AND NOT EXISTS (SELECT FROM litgo.outbox o WHERE o.delivery_id = d.delivery_id AND o.status = 'pending');

-- A delivery for each person who has none and was not disturbed a moment ago. Whose life may be at risk comes first, and
-- waits for no pause.
INSERT INTO litgo.deliveries (recipient_id, opened_at, next_attempt_at)
SELECT o.recipient_id, %(as_of)s, %(as_of)s
FROM litgo.outbox o
WHERE o.status = 'pending'
  AND NOT EXISTS (SELECT FROM litgo.deliveries d WHERE d.recipient_id = o.recipient_id AND d.status = 'open')
  AND NOT EXISTS (
      SELECT FROM litgo.deliveries d
      WHERE d.recipient_id = o.recipient_id AND d.status = 'accepted' AND o.kind <> 'public_numbers'
        AND d.finished_at > %(as_of)s - %(cooldown)s * interval '1 minute' AND d.finished_at <= %(as_of)s)
GROUP BY o.recipient_id
ORDER BY bool_or(o.kind = 'public_numbers') DESC, min(o.message_id)
LIMIT %(limit)s;

-- Everything that waits for the person goes along, in order, up to a contract to sign by hand: that goes alone, with its
-- PDF. What may have arrived already stays as it was.
UPDATE litgo.outbox o
SET delivery_id = CASE WHEN b.place = 1 OR NOT b.apart AND b.place <= 50 THEN b.delivery_id END
FROM (
    SELECT w.message_id, d.delivery_id, row_number() OVER waiting AS place,
           bool_or(w.kind = 'contract_manual') OVER waiting AS apart
    FROM litgo.deliveries d
    JOIN litgo.outbox w ON w.recipient_id = d.recipient_id AND w.status = 'pending'
    WHERE d.status = 'open' AND d.in_doubt IS NULL AND d.next_attempt_at <= %(as_of)s
      AND (d.lease_until IS NULL OR d.lease_until <= clock_timestamp())
    WINDOW waiting AS (PARTITION BY d.delivery_id ORDER BY w.message_id)
) AS b
WHERE o.message_id = b.message_id
  AND o.delivery_id IS DISTINCT FROM CASE WHEN b.place = 1 OR NOT b.apart AND b.place <= 50 THEN b.delivery_id END;

UPDATE litgo.deliveries
SET claimed_by = %(token)s::uuid, lease_until = clock_timestamp() + %(lease)s * interval '1 second'
WHERE delivery_id IN (
    SELECT delivery_id FROM litgo.deliveries d
    WHERE status = 'open' AND next_attempt_at <= %(as_of)s
      AND (lease_until IS NULL OR lease_until <= clock_timestamp())
    ORDER BY EXISTS (SELECT FROM litgo.outbox o WHERE o.delivery_id = d.delivery_id AND o.kind = 'public_numbers') DESC,
        next_attempt_at, delivery_id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED)
RETURNING delivery_id::text;
