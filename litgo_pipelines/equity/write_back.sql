-- The marketplace sees the newest night only, and only rows that change; an offer made since stays the last one. Of the
-- lawyers with these ids, or of all.
UPDATE lawyers l
SET cases_30d = h.cases_30d, capacidade_mensal = h.capacidade_mensal, equity_updated_at = %(as_of)s,
    last_offered_at = CASE WHEN litgo.instant(l.last_offered_at) >= %(as_of)s THEN l.last_offered_at
                           ELSE h.last_offered_at END
FROM litgo.equity_history h
WHERE h.night = (SELECT %(night)s::date) AND l.id = h.lawyer_id  -- a subquery, as in distribution_lawyers.sql
  AND (%(ids)s::uuid[] IS NULL OR l.id = ANY(%(ids)s::uuid[]))
  AND NOT EXISTS (SELECT FROM litgo.equity_history later WHERE later.night > %(night)s)
  AND ((l.cases_30d, l.capacidade_mensal) IS DISTINCT FROM (h.cases_30d, h.capacidade_mensal)
       OR (l.last_offered_at IS DISTINCT FROM h.last_offered_at
           AND litgo.instant(l.last_offered_at) >= %(as_of)s IS NOT TRUE))
