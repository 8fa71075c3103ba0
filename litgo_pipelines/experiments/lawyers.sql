-- Lawyers who can be offered a case, or were, with what each can take a month.
SELECT l.id::text, GREATEST(coalesce(l.capacidade_mensal, %(base)s), 1)::float8
FROM lawyers l
WHERE l.id = ANY(%(offered)s::uuid[])
   OR (l.is_available AND l.created_at <= %(cutoff)s
       -- older marketplaces have no status: there is_available alone decides
       AND coalesce(to_jsonb(l) ->> 'status', 'active') = 'active'
       AND coalesce((to_jsonb(l) ->> 'is_approved')::boolean, true))
ORDER BY l.id
