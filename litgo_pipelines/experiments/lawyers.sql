-- Lawyers who can be offered a case, or were, with what each can take a month.
SELECT l.id::text, coalesce(h.capacidade_mensal, %(base)s)::float8
FROM lawyers l
LEFT JOIN litgo.equity_history h ON h.lawyer_id = l.id
    AND h.night = (SELECT max(night) FROM litgo.equity_history WHERE as_of <= %(cutoff)s)
WHERE l.id = ANY(%(offered)s::uuid[])
   OR (l.is_available AND litgo.joined(l.created_at) <= %(cutoff)s
       AND coalesce(l.active, true))
ORDER BY l.id
