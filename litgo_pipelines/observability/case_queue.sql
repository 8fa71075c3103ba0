SELECT coalesce(extract(epoch FROM now() - min(c.created_at)), 0)
FROM exported_cases c
WHERE c.status = 'pending_assignment'
  AND c.created_at > now() - interval '14 days'
  AND c.created_at <= now()
  AND NOT EXISTS (SELECT FROM litgo.matchings m WHERE m.case_id = c.id)
  AND NOT EXISTS (SELECT FROM exported_offers o WHERE o.case_id = c.id)  -- of before the pipelines, by others
  AND NOT EXISTS (SELECT FROM litgo.matching_failures f WHERE f.case_id = c.id AND f.dead)
  AND NOT EXISTS (SELECT FROM litgo.triage t WHERE t.case_id = c.id AND t.status = 'review')
