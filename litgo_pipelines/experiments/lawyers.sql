-- Lawyers who can be offered a case, or were, with what each can take a month.
SELECT l.id::text, GREATEST(coalesce(l.capacidade_mensal, %(base)s), 1)::float8
FROM lawyers l
WHERE l.id = ANY(%(offered)s::uuid[])
   OR (l.is_available AND l.created_at <= %(cutoff)s
       AND coalesce(l.active, true))
ORDER BY l.id
