-- Open cases with neither a next instant nor a person told. A next instant that passed two hours ago is none. Open is what
-- is not at its end: a state nobody knows is one in which nobody does anything, until the team was told of it.
WITH open_case AS (
    SELECT c.id, c.status, c.area,
           -- a row without a usable instant of creation is put aside, and told
           CASE WHEN c.created_at <= %(as_of)s::timestamptz + interval '1 day' THEN litgo.instant(c.created_at) END AS created_at,
           EXISTS (SELECT FROM exported_contracts k WHERE k.case_id = c.id AND k.status IN ('pending-signature', 'active')) AS contract
    FROM exported_cases c
    WHERE (c.status IS NULL OR c.status NOT IN ('closed', 'cancelled'))
      AND (c.created_at > %(as_of)s AND c.created_at <= %(as_of)s::timestamptz + interval '1 day') IS NOT TRUE
),
spelling AS MATERIALIZED (  -- each is read once, not once a case, and only where something follows from it
    SELECT area, litgo.chosen(area) AS chosen
    FROM (
        SELECT DISTINCT c.area FROM exported_cases c
        WHERE c.status = 'pending_assignment'
          AND NOT EXISTS (SELECT FROM exported_offers f WHERE f.case_id = c.id AND f.status = 'pending')
    ) written
),
known AS (
    SELECT c.id, CASE
        -- a contract has a statement of its own
        WHEN c.contract THEN NULL
        WHEN (c.status IN ('pending_assignment', 'assigned', 'in_progress')) IS NOT TRUE THEN
            CASE WHEN t_state.told_at IS NULL THEN coalesce(c.created_at, '1900-01-01') END
        WHEN d.case_id IS NOT NULL THEN CASE
            WHEN d.original_open THEN NULL  -- the case it repeats has what it waits for
            WHEN t_repeats.told_at IS NULL THEN coalesce(d.seen_at, '1900-01-01') END
        WHEN c.status = 'pending_assignment' AND c.created_at IS NULL THEN coalesce(f.retry_at, '1900-01-01')
        WHEN c.status <> 'pending_assignment' THEN
            CASE WHEN t_contract.told_at IS NULL OR t_contract.told_at < GREATEST(k.newest, o.interested_at)
                THEN coalesce(GREATEST(c.created_at, o.interested_at + interval '3 days', k.newest), '1900-01-01') END
        WHEN o.expires_at IS NOT NULL THEN o.expires_at
        WHEN s.chosen IS NULL THEN CASE
            WHEN t.case_id IS NULL THEN coalesce(tf.retry_at, c.created_at)
            WHEN t.status = 'review' THEN CASE WHEN t_review.told_at >= t.as_of THEN NULL ELSE t.as_of END
            ELSE t.as_of END
        WHEN f.case_id IS NOT NULL THEN f.retry_at
        WHEN v.reason = 'rounds_over' THEN NULL  -- told as it was written
        WHEN v.case_id IS NOT NULL THEN v.next_look_at
        WHEN o.interested_at IS NOT NULL THEN
            CASE WHEN t_interest.told_at IS NULL OR t_interest.told_at < GREATEST(o.first_interest_at, k.newest)
                THEN GREATEST(o.first_interest_at, k.newest) END
        ELSE coalesce(o.ended_at, c.created_at)
    END AS due_at
    FROM open_case c
    LEFT JOIN spelling s ON s.area = c.area
    LEFT JOIN LATERAL (
        SELECT max(term) FILTER (WHERE status = 'pending') AS expires_at,
               min(coalesce(answered_at, sent)) FILTER (WHERE status = 'interested') AS first_interest_at,
               max(coalesce(answered_at, sent)) FILTER (WHERE status = 'interested') AS interested_at,
               max(coalesce(answered_at, LEAST(term, %(as_of)s))) AS ended_at
        FROM (  -- when each ends: expiry.sql knows the same
            SELECT f.status, was.sent,
                   CASE WHEN f.responded_at <= %(as_of)s::timestamptz + interval '1 day' THEN litgo.instant(f.responded_at) END AS answered_at,
                   CASE WHEN f.expires_at >= '1900-01-01' AND f.expires_at <= %(as_of)s::timestamptz + interval '366 days'
                             AND (LEAST(f.sent_at, f.created_at)
                                  BETWEEN %(as_of)s::timestamptz + interval '1 day' AND f.expires_at) IS NOT TRUE
                        THEN f.expires_at ELSE was.sent + interval '24 hours' END AS term
            FROM exported_offers f
            CROSS JOIN LATERAL (
                SELECT CASE WHEN f.sent_at <= %(as_of)s::timestamptz + interval '1 day' THEN litgo.instant(f.sent_at) END AS sent_at,
                       CASE WHEN f.created_at <= %(as_of)s::timestamptz + interval '1 day' THEN litgo.instant(f.created_at) END AS made_at
            ) usable
            CROSS JOIN LATERAL (SELECT coalesce(usable.sent_at, usable.made_at, '1900-01-01') AS sent) was
            WHERE f.case_id = c.id
        ) offer
    ) o ON true
    LEFT JOIN LATERAL (  -- a contract that came to nothing: what was told before it is old
        SELECT max(litgo.instant(created_at)) AS newest FROM exported_contracts
        WHERE case_id = c.id AND status = 'canceled' AND created_at <= %(as_of)s
    ) k ON true
    LEFT JOIN litgo.triage t ON t.case_id = c.id
    LEFT JOIN litgo.triage_failures tf ON tf.case_id = c.id
    LEFT JOIN litgo.matching_failures f ON f.case_id = c.id
    LEFT JOIN litgo.case_waits v ON v.case_id = c.id
    LEFT JOIN LATERAL (
        SELECT r.case_id, r.seen_at, EXISTS (
                   SELECT FROM exported_cases o WHERE o.id = r.of_case_id AND (o.status IS NULL OR o.status NOT IN ('closed', 'cancelled'))
               ) AS original_open
        FROM litgo.case_duplicates r WHERE r.case_id = c.id
    ) d ON true
    LEFT JOIN litgo.told t_review ON t_review.kind = 'case_review' AND t_review.subject = c.id::text
    LEFT JOIN litgo.told t_interest ON t_interest.kind = 'lawyers_interested' AND t_interest.subject = c.id::text
    LEFT JOIN litgo.told t_contract ON t_contract.kind = 'case_without_contract' AND t_contract.subject = c.id::text
    LEFT JOIN litgo.told t_repeats ON t_repeats.kind = 'case_repeats' AND t_repeats.subject = c.id::text
    LEFT JOIN litgo.told t_state ON t_state.kind = 'state_unknown' AND t_state.subject = 'cases:' || left(coalesce(c.status, ''), 40)
)
SELECT id::text, due_at FROM known WHERE due_at < %(as_of)s::timestamptz - interval '2 hours'
