-- The migrations' own table is left out: none of them makes it.
SELECT c.relname, json_agg(json_build_object(
    'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
    'nullable', NOT a.attnotnull, 'description', col_description(c.oid, a.attnum)) ORDER BY a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'litgo'::regnamespace AND c.relkind = 'r' AND c.relname <> 'schema_migrations'
GROUP BY c.relname ORDER BY c.relname
