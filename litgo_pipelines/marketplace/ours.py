"""Whether the schemas that bear our names are ours: before anything is created, changed or run in them."""

from litgo_pipelines.database import SCHEMA, Cursor
from litgo_pipelines.marketplace.schema import SOURCE_SCHEMA

_OWNERS = """
SELECT nspname, pg_get_userbyid(nspowner), pg_has_role(nspowner, 'USAGE'),
       EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND relkind IN ('r', 'p', 'v', 'm', 'f'))
           OR EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = n.oid)
FROM pg_namespace n WHERE nspname IN (%(ours)s, %(views)s)
"""
_MIGRATIONS = """
SELECT count(*) = 3 FROM pg_attribute
WHERE attrelid = to_regclass(%(migrations)s) AND attname IN ('version', 'name', 'sha256') AND NOT attisdropped
"""
# What runs with the rights of whoever works with our tables, and was put there by somebody else.
_PLANTED = """
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
"""


def problem(cursor: Cursor) -> str | None:
    """Why nothing may be done in these schemas, as a sentence; None when they are ours, or not there yet."""
    parameters = {"ours": SCHEMA, "views": SOURCE_SCHEMA, "migrations": f"{SCHEMA}.schema_migrations"}
    cursor.execute(_OWNERS, parameters)
    found = {name: (owner, may, used) for name, owner, may, used in cursor.fetchall()}
    for name, (owner, may, _) in found.items():
        if not may:
            return f"the schema {name} belongs to {owner}: run as {owner}, or rename the schema if it is not ours"
    cursor.execute(_MIGRATIONS, parameters)
    (migrated,) = cursor.fetchone() or (False,)
    for name in found:
        if found[name][2] and not migrated:
            return f"the schema {name} is there and holds something that is not ours: rename it, we need the name"
    cursor.execute(_PLANTED, parameters)
    if planted := [row[0] for row in cursor.fetchall()]:
        return f"not ours, and it would run with our rights: {', '.join(planted)}; look at it and drop it"
    return None
