-- (view, table) of source views, by (view, schema, table) of the mapping, that read another table than has the name now: a
-- view follows the table it was made on, and goes on reading that when a new one takes its place.
SELECT w.view, w.schema || '.' || w.relation
FROM unnest(%s::text[], %s::text[], %s::text[]) AS w (view, schema, relation)
JOIN pg_namespace n ON n.nspname = w.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relation
JOIN pg_class v ON v.relnamespace = to_regnamespace('litgo_source') AND v.relname = w.view AND v.relkind = 'v'
WHERE NOT EXISTS (
    SELECT FROM pg_rewrite r
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
    WHERE r.ev_class = v.oid AND d.refobjid = c.oid)
ORDER BY 1
