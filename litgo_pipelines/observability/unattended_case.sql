-- Open cases with neither a next instant nor a person told. A next instant that passed two hours ago is none.
WITH open_case AS (
    SELECT c.id, c.status, c.created_at, litgo.chosen(c.area) AS area,
           EXISTS (SELECT FROM exported_contracts k WHERE k.case_id = c.id AND k.status IN ('pending-signature', 'active')) AS contract
    FROM exported_cases c
    WHERE c.status IN ('pending_assignment', 'assigned', 'in_progress') AND c.created_at <= %(as_of)s
),
known AS (
    SELECT c.id, CASE
        -- a contract has a statement of its own
        WHEN c.contract THEN NULL
        WHEN d.case_id IS NOT NULL THEN NULL  -- the case it repeats has what it waits for
        WHEN c.status <> 'pending_assignment' THEN
            CASE WHEN t_contract.told_at IS NULL
                THEN GREATEST(c.created_at, o.interested_at + interval '3 days') END
        WHEN o.expires_at IS NOT NULL THEN o.expires_at
        WHEN o.interested_at IS NOT NULL THEN CASE WHEN t_interest.told_at IS NULL THEN o.interested_at END
        WHEN c.area IS NULL THEN CASE
            WHEN t.case_id IS NULL THEN coalesce(tf.retry_at, c.created_at)
            WHEN t.status = 'review' THEN CASE WHEN t_review.told_at >= t.as_of THEN NULL ELSE t.as_of END
            ELSE t.as_of END
        WHEN f.case_id IS NOT NULL THEN f.retry_at
        WHEN v.reason = 'rounds_over' THEN NULL  -- told as it was written
        WHEN v.case_id IS NOT NULL THEN v.next_look_at
        ELSE coalesce(o.ended_at, c.created_at)
    END AS due_at
    FROM open_case c
    LEFT JOIN LATERAL (
        SELECT max(expires_at) FILTER (WHERE status = 'pending') AS expires_at,
               max(coalesce(litgo.instant(responded_at), litgo.instant(sent_at))) FILTER (WHERE status = 'interested') AS interested_at,
               max(coalesce(litgo.instant(responded_at), LEAST(expires_at, %(as_of)s))) AS ended_at
        FROM exported_offers WHERE case_id = c.id
    ) o ON true
    LEFT JOIN litgo.triage t ON t.case_id = c.id
    LEFT JOIN litgo.triage_failures tf ON tf.case_id = c.id
    LEFT JOIN litgo.matching_failures f ON f.case_id = c.id
    LEFT JOIN litgo.case_waits v ON v.case_id = c.id
    LEFT JOIN litgo.case_duplicates d ON d.case_id = c.id
    LEFT JOIN litgo.told t_review ON t_review.kind = 'case_review' AND t_review.subject = c.id::text
    LEFT JOIN litgo.told t_interest ON t_interest.kind = 'lawyers_interested' AND t_interest.subject = c.id::text
    LEFT JOIN litgo.told t_contract ON t_contract.kind = 'case_without_contract' AND t_contract.subject = c.id::text
)
SELECT id::text, due_at FROM known WHERE due_at < %(as_of)s::timestamptz - interval '2 hours'
