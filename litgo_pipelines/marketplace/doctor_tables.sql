-- Tables of theirs with their columns, the labels of enums, the definitions of checks, and the triggers that write with
-- the rights of whoever writes.
SELECT n.nspname, c.relname,
       (SELECT jsonb_object_agg(a.attname, b.typname)
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        CROSS JOIN LATERAL (
            WITH RECURSIVE under AS (  -- the type under a domain, and under that one's
                SELECT t.typname, t.typtype, t.typbasetype UNION ALL
                SELECT p.typname, p.typtype, p.typbasetype
                FROM under u JOIN pg_type p ON u.typtype = 'd' AND p.oid = u.typbasetype
            ) SELECT typname FROM under WHERE typtype <> 'd') b
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
