-- (view, column, type under its domains) of the source views, whether or not this user may read them.
SELECT c.relname, a.attname, b.typname
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN LATERAL (
    WITH RECURSIVE under AS (  -- the type under a domain, and under that one's
        SELECT typname, typtype, typbasetype FROM pg_type WHERE oid = a.atttypid UNION ALL
        SELECT p.typname, p.typtype, p.typbasetype
        FROM under u JOIN pg_type p ON u.typtype = 'd' AND p.oid = u.typbasetype
    ) SELECT typname FROM under WHERE typtype <> 'd') b
WHERE c.relnamespace = to_regnamespace('litgo_source') AND c.relname = ANY (%s)
