-- Cases of a batch that are left to match, in the order of their turn: still pending and somebody's, and neither matched, nor failed, nor
-- put off in this batch.
SELECT b.turn, b.case_id::text, b.round
FROM unnest(%(case_ids)s::uuid[], %(rounds)s::int[]) WITH ORDINALITY AS b (case_id, round, turn)
JOIN cases c ON c.id = b.case_id AND c.status = 'pending_assignment' AND c.client_id IS NOT NULL
WHERE NOT EXISTS (SELECT FROM litgo.matchings m WHERE m.case_id = b.case_id AND m.round = b.round)
  AND NOT EXISTS (
    SELECT FROM litgo.matching_failures f
    WHERE f.case_id = b.case_id AND f.retry_at > %(as_of)s AND f.last_failed_at <= %(as_of)s
  )
  AND NOT EXISTS (SELECT FROM litgo.case_waits v WHERE v.case_id = b.case_id AND v.looked_at = %(as_of)s)
ORDER BY b.turn
