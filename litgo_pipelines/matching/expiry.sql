-- Offers nobody answered in time, as of an instant; counted in the same statement. A term that is no instant is the usual
-- day, and so is one more than a year away, or of an offer made in the future, by a clock that was wrong. Of the offers with
-- these ids, or of all; a row that another session holds waits for the next time.
WITH due AS (
    SELECT id FROM offers
    WHERE status = 'pending' AND (%(ids)s::uuid[] IS NULL OR id = ANY(%(ids)s::uuid[]))
      AND (expires_at BETWEEN '1900-01-01' AND %(as_of)s
           OR ((expires_at BETWEEN '1900-01-01' AND %(as_of)s::timestamptz + interval '366 days') IS NOT TRUE
               OR LEAST(sent_at, created_at) BETWEEN %(as_of)s::timestamptz + interval '1 day' AND expires_at)
              AND coalesce(CASE WHEN sent_at <= %(as_of)s::timestamptz + interval '1 day' THEN litgo.instant(sent_at) END,
                           CASE WHEN created_at <= %(as_of)s::timestamptz + interval '1 day' THEN litgo.instant(created_at) END,
                           '-infinity') + interval '24 hours' <= %(as_of)s)
    FOR UPDATE SKIP LOCKED
),
expired AS (
    UPDATE offers o SET status = 'expired' FROM due WHERE o.id = due.id RETURNING o.case_id, o.status
),
counted AS (
    INSERT INTO litgo.metric_state AS s (name, labels, value)
    SELECT 'offers_expired_total', '{}', count(*) FROM expired WHERE status <> 'pending' HAVING count(*) > 0
    ON CONFLICT (name, labels) DO UPDATE SET value = s.value + excluded.value
)
SELECT count(*), count(DISTINCT case_id) FROM expired WHERE status <> 'pending'  -- a trigger of theirs may keep it
