-- Tables of theirs with their columns, the labels of enums, the definitions of checks, and the triggers that write with
-- the rights of whoever writes.
SELECT n.nspname, c.relname,
       (SELECT jsonb_object_agg(a.attname, coalesce(b.typname, t.typname))
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       (SELECT coalesce(jsonb_object_agg(a.attname, (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder)
                                                     FROM pg_enum e WHERE e.enumtypid = a.atttypid)), '{}')
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND t.typtype = 'e') AS labels,
       (SELECT coalesce(jsonb_object_agg(a.attname, pg_get_constraintdef(k.oid)), '{}')
        FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]
        WHERE k.conrelid = c.oid AND k.contype = 'c' AND cardinality(k.conkey) = 1) AS checks,
       (SELECT coalesce(jsonb_agg(g.tgname), '[]') FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid
        WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND NOT p.prosecdef
          AND p.prosrc ~* '\m(insert\s+into|update|delete\s+from|execute)\M') AS triggers
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND n.nspname NOT IN ('litgo', 'litgo_source', 'information_schema')
  AND n.nspname !~ '^pg_' AND NOT c.relispartition
  AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
ORDER BY 1, 2
