-- (view, column, type under its domains) of the source views that this user may see.
SELECT s.table_name, s.column_name, b.typname
FROM information_schema.columns s
JOIN pg_attribute a ON a.attrelid = format('litgo_source.%%I', s.table_name)::regclass AND a.attname = s.column_name
CROSS JOIN LATERAL (
    WITH RECURSIVE under AS (  -- the type under a domain, and under that one's
        SELECT typname, typtype, typbasetype FROM pg_type WHERE oid = a.atttypid UNION ALL
        SELECT p.typname, p.typtype, p.typbasetype
        FROM under u JOIN pg_type p ON u.typtype = 'd' AND p.oid = u.typbasetype
    ) SELECT typname FROM under WHERE typtype <> 'd') b
WHERE s.table_schema = 'litgo_source' AND s.table_name = ANY (%s)
