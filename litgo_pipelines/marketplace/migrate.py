"""`litgo migrate`: brings a database to what this version needs, and says what it did.

Two rules. What is ours lives in the schema `litgo`, by ordered, checksummed migrations. What is the marketplace's is
created only where there is no marketplace at all; in an existing one only missing equity columns and indexes are added.
"""

import hashlib
import re
from importlib.resources import files
from typing import Any

from litgo_pipelines.database import SCHEMA, advisory_lock, connect, sql
from litgo_pipelines.marketplace.schema import EQUITY_COLUMNS, TABLES


class MigrationError(RuntimeError):
    """The database and the migrations of this version do not fit together."""


def migrations() -> list[tuple[int, str, str, str]]:
    """(version, name, sha256, text) in the order to apply."""
    found = []
    for file in sorted(files("litgo_pipelines.database").joinpath("migrations").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".sql"):
            text = file.read_text(encoding="utf-8")
            found.append((int(file.name[:4]), file.name, hashlib.sha256(text.encode()).hexdigest(), text))
    return found


def migrate(url: str) -> list[str]:
    """Apply what is missing, in one transaction; returns one line for each thing done (empty: nothing to do).

    Safe to run twice and from several processes at once. Raises MigrationError when an applied migration's text has
    changed, when the database is newer than this code, or when only a part of the marketplace exists.
    """
    with connect(url, application_name="litgo-migrate") as connection, connection.cursor() as cursor:
        if _is_current(cursor):  # else every command would need the rights of the database's owner
            return []
        advisory_lock(cursor, "migrate")
        done = [*_own_schema(cursor), *_marketplace(cursor)]
        cursor.execute(sql("litgo_pipelines.marketplace", "indexes.sql"))
        return done


def _is_current(cursor: Any) -> bool:
    """Whether there is nothing to do. Columns are looked up where they show whatever the reader's rights."""
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{SCHEMA}.schema_migrations",))
    if not cursor.fetchone()[0]:
        return False
    cursor.execute(f"SELECT version, sha256 FROM {SCHEMA}.schema_migrations")
    if dict(cursor.fetchall()) != {version: sha256 for version, _, sha256, _ in migrations()}:
        return False
    indexes = re.findall(r"IF NOT EXISTS (\w+)", sql("litgo_pipelines.marketplace", "indexes.sql"))
    cursor.execute(
        "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = ANY(%s)), "
        "(SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass('public.lawyers') AND attname = ANY(%s))",
        ([*TABLES, *indexes], list(EQUITY_COLUMNS)),
    )
    return cursor.fetchone() == (len(TABLES) + len(indexes), len(EQUITY_COLUMNS))


def _own_schema(cursor: Any) -> list[str]:
    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    cursor.execute(
        f"CREATE TABLE IF NOT EXISTS {SCHEMA}.schema_migrations (version int PRIMARY KEY, name text NOT NULL, "
        "sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    cursor.execute(f"SELECT version, sha256 FROM {SCHEMA}.schema_migrations")
    applied = dict(cursor.fetchall())
    known = migrations()
    if unknown := set(applied) - {version for version, *_ in known}:
        raise MigrationError(
            f"the database has migrations {sorted(unknown)} that this version lacks: deploy newer code"
        )
    done = []
    for version, name, sha256, text in known:
        if version in applied:
            if applied[version] != sha256:
                raise MigrationError(f"{name} was changed after it was applied: restore it and add a new migration")
            continue
        cursor.execute(text)
        cursor.execute(
            f"INSERT INTO {SCHEMA}.schema_migrations (version, name, sha256) VALUES (%s, %s, %s)",
            (version, name, sha256),
        )
        done.append(f"applied {name}")
    return done


def _marketplace(cursor: Any) -> list[str]:
    cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    present = {name for (name,) in cursor.fetchall()} & set(TABLES)
    if not present:
        cursor.execute(sql("litgo_pipelines.marketplace", "tables.sql"))
        cursor.execute(f"INSERT INTO {SCHEMA}.own_marketplace DEFAULT VALUES ON CONFLICT DO NOTHING")
        return ["no marketplace found: created its tables, empty"]
    if missing := sorted(set(TABLES) - present):
        raise MigrationError(f"a marketplace without {', '.join(missing)}: its own migrations must create them first")
    done = []
    cursor.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = 'lawyers'"
    )
    columns = {name for (name,) in cursor.fetchall()}
    for column, kind in EQUITY_COLUMNS.items():
        if column not in columns:
            cursor.execute(f"ALTER TABLE public.lawyers ADD COLUMN {column} {kind}")
            done.append(f"existing marketplace: added lawyers.{column} ({kind})")
    return done
