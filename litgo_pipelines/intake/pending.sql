-- Cases to triage as of an instant, oldest first: those of which no triage is known yet, also where the client chose
-- everything, for a text may be more urgent than its client says, and those whose text was edited since: its length is
-- compared at every look, its words at one look in sixteen minutes, or now where no minute is given. What has failed
-- waits for its next try. What is missing decides, not a watermark: a row that becomes visible late is found like any other.
SELECT c.id::text, c.title, c.description, litgo.chosen(c.area), litgo.chosen(c.subarea), litgo.number(c.urgency_h),
       CASE WHEN c.complexity IN ('LOW', 'MEDIUM', 'HIGH') THEN c.complexity END,
       CASE WHEN %(names)s THEN p.full_name END, coalesce(p.ai_consent, false), b.bytes,
       litgo.text_hash(c.title, c.description)
FROM cases c
CROSS JOIN LATERAL (  -- as stored: nothing is unpacked for it
    SELECT coalesce(octet_length(c.title), 0)::bigint + coalesce(octet_length(c.description), 0) AS bytes) b
LEFT JOIN profiles p ON p.id = c.client_id
WHERE c.status = 'pending_assignment' AND c.created_at BETWEEN '1900-01-01' AND %(as_of)s
  AND NOT EXISTS (
      SELECT FROM litgo.triage t
      WHERE t.case_id = c.id AND coalesce(t.text_bytes, b.bytes) = b.bytes
        AND CASE WHEN coalesce(uuid_hash(c.id) & 15 = %(minute)s::int & 15, true)
                 THEN coalesce(t.text_hash = litgo.text_hash(c.title, c.description), true) ELSE true END)
  AND NOT EXISTS (  -- a failure of the future is one of a clock that was wrong
      SELECT FROM litgo.triage_failures f
      WHERE f.case_id = c.id AND f.retry_at > %(as_of)s AND f.last_failed_at <= %(as_of)s)
ORDER BY c.created_at, c.id
LIMIT %(limit)s
