-- Cases that go no further by themselves for now, the most urgent first, with who knows of it.
WITH labelled AS MATERIALIZED (  -- each spelling is read once, not once a case
    SELECT area, litgo.area_label(litgo.chosen(area)) AS label
    FROM (SELECT DISTINCT area FROM cases WHERE status = 'pending_assignment') known
)
SELECT c.id::text, CASE WHEN d.case_id IS NOT NULL THEN 'duplicate' WHEN f.case_id IS NOT NULL THEN 'failed'
                        ELSE v.reason END AS reason, a.label,
       CASE WHEN c.urgency_h > 0 AND c.urgency_h < 8760 THEN litgo.number(c.urgency_h) END AS urgency_h,
       coalesce(d.seen_at, f.first_failed_at, v.since) AS since,
       coalesce(f.retry_at, v.next_look_at) AS next_look_at, coalesce(d.of_case_id::text, left(f.reason, 200)),
       coalesce(f.dead, false) OR coalesce(v.reason = 'rounds_over', false) OR EXISTS (SELECT FROM litgo.outbox o WHERE o.dedup_key =
           litgo.case_waits_key(c.id, v.since, %(team)s::uuid)) AS team_knows,
       coalesce(v.reason = 'rounds_over', false) OR EXISTS (SELECT FROM litgo.outbox o WHERE o.dedup_key =
           litgo.case_waits_key(c.id, v.since, c.client_id)) AS client_knows
FROM cases c
LEFT JOIN labelled a ON a.area = c.area
LEFT JOIN litgo.case_waits v ON v.case_id = c.id
LEFT JOIN litgo.matching_failures f ON f.case_id = c.id
LEFT JOIN litgo.case_duplicates d ON d.case_id = c.id
WHERE c.status = 'pending_assignment' AND (v.case_id IS NOT NULL OR f.case_id IS NOT NULL OR d.case_id IS NOT NULL)
ORDER BY urgency_h NULLS LAST, since, c.id
