"""Ownership of the schemas that bear our names, checked before anything is created, changed or run in them."""

from litgo_pipelines.database import SCHEMA, Cursor, sql
from litgo_pipelines.marketplace.schema import SOURCE_SCHEMA

_OWNERS = sql("litgo_pipelines.marketplace", "owners.sql")
_MIGRATIONS = """
SELECT count(*) = 3 FROM pg_attribute
WHERE attrelid = to_regclass(%(migrations)s) AND attname IN ('version', 'name', 'sha256') AND NOT attisdropped
"""
_PLANTED = sql("litgo_pipelines.marketplace", "planted.sql")


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
