-- Of the columns that a mapping writes, by (view, column, schema, table, column of theirs, whether for inserts), those the
-- database computes itself, and those of views that take no such write; of several forms the first that is there.
SELECT name, logical, schema || '.' || relation, theirs, computed
FROM (
    SELECT DISTINCT ON (name, logical, inserted) *,
           a.attgenerated <> '' OR a.attidentity = 'a' AND inserted AS computed,
           c.relkind = 'm' OR c.relkind = 'v' AND c.relhasrules AND NOT EXISTS (
               SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN')
           AND NOT EXISTS (
               SELECT FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgtype & 64 > 0
                 AND g.tgtype & CASE WHEN inserted THEN 4 ELSE 16 END > 0)
           AND NOT pg_column_is_updatable(c.oid, a.attnum, false) AS closed
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::boolean[]) WITH ORDINALITY
        AS w (name, logical, schema, relation, theirs, inserted, place)
    JOIN pg_namespace n ON n.nspname = w.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relation
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = w.theirs AND a.attnum > 0
    ORDER BY name, logical, inserted, place
) found
WHERE computed OR closed
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2
