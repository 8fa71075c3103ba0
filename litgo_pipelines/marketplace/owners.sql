SELECT nspname, pg_get_userbyid(nspowner), pg_has_role(nspowner, 'USAGE'),
       EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND relkind IN ('r', 'p', 'v', 'm', 'f'))
           OR EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = n.oid)
FROM pg_namespace n WHERE nspname IN (%(ours)s, %(views)s)
