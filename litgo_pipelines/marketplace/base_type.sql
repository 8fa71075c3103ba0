-- The type under a domain, and under that one's.
SELECT {name}b.typname, b.typtype{more} FROM {source} CROSS JOIN LATERAL (
    WITH RECURSIVE under AS (
        SELECT t.typname, t.typtype, t.typbasetype UNION ALL
        SELECT p.typname, p.typtype, p.typbasetype
        FROM under u JOIN pg_type p ON u.typtype = 'd' AND p.oid = u.typbasetype
    ) SELECT typname, typtype FROM under WHERE typtype <> 'd'
) b WHERE {condition}
