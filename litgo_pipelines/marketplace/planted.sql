-- What runs with the rights of whoever works with our tables, and was put there by somebody else.
SELECT 'the function ' || p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE nspname IN (%(ours)s, %(views)s) AND p.proowner <> n.nspowner
UNION ALL
SELECT 'the trigger ' || tgname || ' on ' || t.tgrelid::regclass
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid
WHERE NOT tgisinternal AND nspname IN (%(ours)s, %(views)s) AND p.pronamespace <> n.oid
UNION ALL
SELECT 'the rule ' || rulename || ' on ' || r.ev_class::regclass
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE nspname = %(ours)s AND c.relkind <> 'v'
ORDER BY 1
