-- Cases to match as of an instant, in the order of their turn, with the round they are in. What is unhandled decides, not
-- a watermark: a row that becomes visible late is found like any other. `since` bounds what a frequent look costs.
WITH waiting AS (
    SELECT c.id, c.client_id, c.created_at, c.area, c.urgency_h
    FROM cases c
    WHERE c.status = 'pending_assignment'
      AND c.created_at <= %(as_of)s AND c.created_at > %(since)s
      AND NOT EXISTS (SELECT FROM litgo.case_waits v WHERE v.case_id = c.id)
      AND NOT EXISTS (SELECT FROM litgo.case_duplicates d WHERE d.case_id = c.id)
),
fresh AS (
    SELECT w.*, 1 AS round
    FROM waiting w
    WHERE NOT EXISTS (SELECT FROM litgo.matchings WHERE case_id = w.id)
      AND NOT EXISTS (SELECT FROM offers WHERE case_id = w.id)
      AND NOT EXISTS (SELECT FROM contracts k WHERE k.case_id = w.id AND k.status = 'active')
),
again AS (
    -- A further round is for a case whose offers all came to nothing: none open, none accepted, not too old.
    SELECT c.*, 1 + m.round AS round
    FROM waiting c
{so_far}    WHERE c.created_at > %(as_of)s::timestamptz - %(round_days)s * interval '24 hours'
      AND (o.offers > 0 OR m.matched) AND o.open = 0 AND m.round < %(rounds)s
      AND NOT EXISTS (SELECT FROM contracts k WHERE k.case_id = c.id AND k.status IN ('pending-signature', 'active'))
),
open_cases AS (
{open_cases}),
waited_for AS MATERIALIZED (  -- each spelling is read once, not once a case
    SELECT area, litgo.area_variants(area) AS keys
    FROM (SELECT DISTINCT c.area FROM litgo.case_waits v JOIN cases c ON c.id = v.case_id) written
),
changed AS MATERIALIZED (
    -- Who can be offered a case now and could not when the first of the waiting cases was looked at, or is not known to.
    SELECT l.id, litgo.area_keys(l.tags_expertise, l.primary_area) AS keys, a.valid_from
    FROM lawyers l
    LEFT JOIN open_cases p ON p.lawyer_id = l.id
    LEFT JOIN litgo.lawyer_availability a ON a.lawyer_id = l.id AND a.valid_to IS NULL
    WHERE EXISTS (SELECT FROM litgo.case_waits) AND {available}
      AND litgo.area_keys(l.tags_expertise, l.primary_area) && (
          SELECT array_agg(DISTINCT key) FROM waited_for w, unnest(w.keys) AS key)
      AND (a.valid_from IS NULL OR a.valid_from > (SELECT min(looked_at) FROM litgo.case_waits))
),
woken AS (
    SELECT c.id, c.client_id, c.created_at, c.area, c.urgency_h, v.round
    FROM litgo.case_waits v
    JOIN cases c ON c.id = v.case_id AND c.status = 'pending_assignment'
        AND litgo.instant(c.created_at) IS NOT NULL
    LEFT JOIN waited_for w ON w.area = c.area
    WHERE NOT EXISTS (SELECT FROM contracts k WHERE k.case_id = c.id AND k.status IN ('pending-signature', 'active')) AND (
       v.next_look_at <= %(as_of)s
       OR v.looked_at > %(as_of)s::timestamptz + interval '1 hour'  -- written while a clock was wrong
       OR v.reason = 'nobody' AND EXISTS (  -- more urgent by now: somebody should have heard of it
           SELECT FROM (
{to_hear}           ) who
           WHERE v.since + who.after <= %(as_of)s AND NOT EXISTS (
               SELECT FROM litgo.outbox o
               WHERE o.dedup_key = litgo.case_waits_key(c.id, v.since, who.id)))
       OR v.rest_until <= %(as_of)s AND (
           v.case_digest <> {digest}
           OR EXISTS (
               SELECT FROM changed x
               WHERE x.keys && w.keys AND (x.valid_from IS NULL OR x.valid_from > v.looked_at)
                 AND NOT EXISTS (SELECT FROM offers o WHERE o.case_id = c.id AND o.lawyer_id = x.id))))
)
SELECT p.id::text AS case_id, p.round, p.created_at
FROM (
    SELECT * FROM fresh UNION ALL SELECT * FROM again UNION ALL SELECT * FROM woken
    {fence}
) p
WHERE p.client_id IS NOT NULL  -- `aside.sql` tells of the others
  AND litgo.chosen(p.area) IS NOT NULL AND NOT EXISTS (
    SELECT FROM litgo.matching_failures f
    WHERE f.case_id = p.id  -- a failure of the future is one of a clock that was wrong
      AND f.retry_at > %(as_of)s AND f.last_failed_at <= %(as_of)s
)
-- The most urgent first; 72 hours where nobody knows.
ORDER BY CASE WHEN p.urgency_h > 0 THEN p.urgency_h ELSE 72 END, p.created_at, p.id
LIMIT %(limit)s
