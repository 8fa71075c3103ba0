-- What waits for a person who was not told yet: entries of the review queue, cases with an interested lawyer and no
-- contract, assigned cases without either, cases that repeat one that is closed, and messages that nobody got. What was told
-- before a contract came to nothing is old, and so is what was told of lawyers before those who are interested now.
SELECT 'case_review' AS kind, c.id::text AS subject, %(reviewers)s::uuid AS recipient_id, t.as_of AS since,
       jsonb_build_object('case_id', c.id) AS payload
FROM litgo.triage t JOIN cases c ON c.id = t.case_id
LEFT JOIN litgo.told o ON o.kind = 'case_review' AND o.subject = c.id::text
WHERE t.status = 'review' AND c.status = 'pending_assignment' AND t.as_of <= %(as_of)s
  AND litgo.needs_person(c.area, c.subarea, t.reason)
  AND coalesce(o.told_at < t.as_of, true)
UNION ALL
SELECT 'lawyers_interested', c.id::text, c.client_id, coalesce(i.since, c.created_at), jsonb_build_object('case_id', c.id)
FROM cases c
CROSS JOIN LATERAL (
    SELECT GREATEST({after_contract}, min({answered})) AS since
    FROM offers f WHERE f.case_id = c.id AND f.status = 'interested' AND ({open_offer})
    HAVING count(*) > 0
) i
WHERE c.status = 'pending_assignment' AND c.created_at <= %(as_of)s AND c.client_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM contracts k WHERE k.case_id = c.id AND k.status IN ('pending-signature', 'active'))
  AND NOT EXISTS (SELECT FROM litgo.told o WHERE o.kind = 'lawyers_interested' AND o.subject = c.id::text
                  AND o.told_at >= coalesce(i.since, o.told_at))
UNION ALL
SELECT 'case_without_contract', c.id::text, %(team)s::uuid, coalesce(i.since, litgo.joined(c.created_at)), jsonb_build_object('case_id', c.id)
FROM cases c
CROSS JOIN LATERAL (
    SELECT GREATEST({after_contract}, max({answered})) AS since, max({answered}) AS newest
    FROM offers f WHERE f.case_id = c.id AND f.status = 'interested'
) i
WHERE c.status IN ('assigned', 'in_progress')
  AND (c.created_at > %(as_of)s AND c.created_at <= %(as_of)s::timestamptz + interval '1 day') IS NOT TRUE
  AND NOT EXISTS (SELECT FROM contracts k WHERE k.case_id = c.id AND k.status IN ('pending-signature', 'active'))
  AND coalesce(i.newest <= %(as_of)s::timestamptz - interval '3 days', true)  -- who was chosen a moment ago has none yet
  AND NOT EXISTS (SELECT FROM litgo.told o WHERE o.kind = 'case_without_contract' AND o.subject = c.id::text
                  AND o.told_at >= coalesce(i.since, o.told_at))
UNION ALL
SELECT 'case_repeats', c.id::text, %(team)s::uuid, d.seen_at, jsonb_build_object('case_id', c.id, 'of_case_id', d.of_case_id)
FROM litgo.case_duplicates d JOIN cases c ON c.id = d.case_id AND c.status = 'pending_assignment'
JOIN cases k ON k.id = d.of_case_id AND k.status = 'closed'
WHERE NOT EXISTS (SELECT FROM litgo.told o WHERE o.kind = 'case_repeats' AND o.subject = c.id::text)
UNION ALL
SELECT 'message_dead', m.message_id::text, %(team)s::uuid, m.settled_at,
       jsonb_build_object('message_id', m.message_id, 'about', m.kind)
FROM litgo.outbox m
WHERE m.status = 'dead' AND m.recipient_id::text NOT LIKE '00000000-0000-0000-0000-00000000000_'
  AND NOT EXISTS (SELECT FROM litgo.told o WHERE o.kind = 'message_dead' AND o.subject = m.message_id::text
                  AND o.told_at >= m.settled_at)  -- one let go again may die again
