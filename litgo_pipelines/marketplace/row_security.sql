-- Tables under the source views whose row security applies to whoever the views read as: their owner, or (where there
-- are no views yet) this user, with what it does not let it do. A policy for everything, and none that restricts, hides
-- nothing; without one for UPDATE, a statement changes no row and says nothing.
WITH RECURSIVE source AS (
    SELECT c.oid, c.relname, c.relowner FROM pg_class c
    WHERE c.relkind = 'v' AND c.relnamespace = to_regnamespace('litgo_source')
),
named AS (
    SELECT DISTINCT r.ev_class AS view, d.refobjid AS relation
    FROM pg_rewrite r
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
    WHERE d.refobjid <> r.ev_class
),
read AS (
    SELECT s.relname AS view, m.relation, s.relowner AS reader FROM source s JOIN named m ON m.view = s.oid
    UNION
    SELECT name::name, to_regclass(name)::oid, (SELECT oid FROM pg_roles WHERE rolname = current_user)
    FROM unnest(%(relations)s::text[]) AS name WHERE NOT EXISTS (SELECT FROM source)
    UNION  -- through a view of theirs, as its owner, or as whoever reads it
    SELECT r.view, m.relation, CASE WHEN c.reloptions @> '{security_invoker=true}' OR c.reloptions @> '{security_invoker=on}'
        OR c.reloptions @> '{security_invoker=1}' THEN r.reader ELSE c.relowner END
    FROM read r JOIN pg_class c ON c.oid = r.relation AND c.relkind = 'v' JOIN named m ON m.view = c.oid
)
SELECT read.view, n.nspname || '.' || c.relname, u.rolname, c.relowner = u.oid AS forced, wanted.verb
FROM read JOIN pg_class c ON c.oid = read.relation JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_roles u ON u.oid = read.reader
CROSS JOIN (VALUES ('r', 'SELECT'), ('a', 'INSERT'), ('w', 'UPDATE')) AS wanted (command, verb)
WHERE c.relrowsecurity AND (c.relforcerowsecurity OR NOT pg_has_role(u.oid, c.relowner, 'USAGE'))
  AND NOT u.rolsuper AND NOT u.rolbypassrls
  AND (EXISTS (SELECT FROM pg_policy p
               WHERE p.polrelid = c.oid AND NOT p.polpermissive AND p.polcmd::text IN (wanted.command, '*'))
       OR NOT EXISTS (
           SELECT FROM pg_policy p,
               LATERAL (SELECT pg_get_expr(p.polqual, c.oid) AS there, pg_get_expr(p.polwithcheck, c.oid) AS put) says
           WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd::text IN (wanted.command, '*')
             AND (wanted.command = 'a' OR says.there = 'true')
             AND (wanted.command = 'r' OR coalesce(says.put, says.there) = 'true')
             AND EXISTS (SELECT FROM unnest(p.polroles) AS r (oid)
                         WHERE CASE r.oid WHEN 0 THEN true ELSE pg_has_role(u.oid, r.oid, 'USAGE') END)))
ORDER BY 1, 2, wanted.verb <> 'SELECT', wanted.verb
