-- Cases whose rounds are over without an answer that helps, and that nobody was told of yet: every offer declined or
-- expired, and no further round by number or by age.
SELECT case_id, client_id, round
FROM (
    SELECT c.id AS case_id, c.client_id, 1 + m.round AS round, c.area
    FROM cases c
{so_far}    WHERE c.status = 'pending_assignment' AND c.created_at <= %(as_of)s
      AND NOT EXISTS (SELECT FROM litgo.case_waits v WHERE v.case_id = c.id)
      AND NOT EXISTS (SELECT FROM contracts k WHERE k.case_id = c.id AND k.status IN ('pending-signature', 'active'))
      AND (o.offers > 0 OR m.matched) AND o.open = 0
      AND (m.round >= %(rounds)s OR c.created_at <= %(as_of)s::timestamptz - %(round_days)s * interval '24 hours')
    {fence}
) c
WHERE litgo.chosen(c.area) IS NOT NULL
