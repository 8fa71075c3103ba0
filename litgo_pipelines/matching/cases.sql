-- The cases of a batch in the order of their turn.
SELECT c.id::text, c.client_id::text, litgo.area_name(c.area) AS area, coalesce(c.subarea, '') AS subarea, litgo.number(c.urgency_h),
       coalesce(c.complexity, 'MEDIUM') AS complexity, place.at[0] AS lng, place.at[1] AS lat,
       coalesce(c.preset, %(preset)s) AS preset,
       b.round,
       CASE WHEN b.round = 1 AND c.created_at <= %(as_of)s  -- null: it waited for somebody, not for us
                 AND NOT EXISTS (SELECT FROM litgo.case_waits v WHERE v.case_id = c.id)
                 AND NOT EXISTS (SELECT FROM litgo.triage t WHERE t.case_id = c.id AND t.reason IS NOT NULL)
            THEN extract(epoch FROM %(as_of)s - c.created_at) END::float8 AS waited
FROM unnest(%(case_ids)s::uuid[], %(rounds)s::int[]) WITH ORDINALITY AS b (case_id, round, turn)
JOIN cases c ON c.id = b.case_id
CROSS JOIN LATERAL (SELECT {case_place} AS at) place
ORDER BY b.turn
