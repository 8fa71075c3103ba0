-- Cases, contracts and offers of the last month in a state that is none of those we know: nobody does anything in it, and
-- who said yes in another word than «interested» would be passed over for somebody else. Told once per state, with how
-- many there are, and again when it is back after there was none; what a state is called is shown as far as it is a word.
WITH strange AS (
    SELECT 'cases' AS kind, left(coalesce(status, ''), 40) AS state, count(*) AS rows FROM cases
    WHERE status IS NULL OR status NOT IN ('pending_assignment', 'assigned', 'in_progress', 'closed', 'cancelled') GROUP BY 2
    UNION ALL
    SELECT 'contracts', left(coalesce(status, ''), 40), count(*) FROM contracts
    WHERE status IS NULL OR status NOT IN ('pending-signature', 'active', 'closed', 'canceled') GROUP BY 2
    UNION ALL
    SELECT 'offers', left(coalesce(status, ''), 40), count(*) FROM offers
    WHERE sent_at > %(as_of)s::timestamptz - interval '720 hours'
      AND (status IS NULL OR status NOT IN ('pending', 'interested', 'declined', 'expired', 'closed')) GROUP BY 2
),
gone AS (
    DELETE FROM litgo.told t
    WHERE t.kind = 'state_unknown' AND NOT EXISTS (SELECT FROM strange s WHERE t.subject = s.kind || ':' || s.state)
),
told AS (
    INSERT INTO litgo.told (kind, subject, recipient_id, told_at)
    SELECT 'state_unknown', kind || ':' || state, %(marketplace)s::uuid, %(as_of)s FROM strange
    ON CONFLICT DO NOTHING
    RETURNING subject
)
INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at)
SELECT 'state_unknown', %(marketplace)s::uuid, 'state_unknown:' || s.kind || ':' || md5(s.state) || ':' || extract(epoch FROM %(as_of)s::timestamptz),
       jsonb_build_object('table', s.kind, 'rows', s.rows,
                          'state', CASE WHEN s.state ~ '^[A-Za-z][A-Za-z _-]*$' THEN s.state ELSE '' END), %(as_of)s
FROM strange s JOIN told t ON t.subject = s.kind || ':' || s.state
ON CONFLICT (dedup_key) DO NOTHING
