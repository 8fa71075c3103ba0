-- (view, column of its table → whether the view reads it: none where another table has the name, whether what is written
-- goes through triggers of ours) of source views, by (view, schema, table) of the mapping.
SELECT w.view,
       jsonb_object_agg(a.attname, EXISTS (
           SELECT FROM pg_rewrite r
           JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
           WHERE r.ev_class = v.oid AND d.refobjid = c.oid AND d.refobjsubid = a.attnum)),
       EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = v.oid)
FROM unnest(%s::text[], %s::text[], %s::text[]) AS w (view, schema, relation)
JOIN pg_namespace n ON n.nspname = w.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relation
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_class v ON v.relnamespace = to_regnamespace('litgo_source') AND v.relname = w.view AND v.relkind = 'v'
GROUP BY w.view, v.oid
