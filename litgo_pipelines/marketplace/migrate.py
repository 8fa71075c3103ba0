"""`litgo migrate`: brings a database to what this version needs, and says what it did.

Two rules. What is ours lives in the schema `litgo`, by ordered, checksummed migrations. What is the marketplace's is
created only where there is no marketplace at all; in an existing one only missing equity columns and indexes are added.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files

from litgo_pipelines.database import SCHEMA, Connection, Cursor, lock_key, open_connection, sql
from litgo_pipelines.marketplace import indexes, ours, views
from litgo_pipelines.marketplace.mapping import SourceTable, quoted
from litgo_pipelines.marketplace.schema import EQUITY_COLUMNS, SOURCE_SCHEMA, TABLES


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
    """Apply what is missing, in one transaction, then indexes; returns one line for each thing done (empty: nothing).

    Safe to run twice and from several processes at once. Raises MigrationError when an applied migration's text has
    changed, when the database is newer than this code, when only a part of the marketplace exists, when it does not
    fit the mapping, or when somebody's open transaction is in the way; MappingError when there is no such mapping.
    """
    connection = open_connection(url, application_name="litgo-migrate")
    try:
        if all(_current(connection)):  # else every command would need the rights of the database's owner
            return []
        with _alone(connection):
            schema, indexed = _current(connection)  # another process may have been faster
            done = [] if schema else _without_waiting(connection, _in_one_transaction)
            return done if schema and indexed else [*done, *indexes.ensure(connection)]
    finally:
        connection.close()


def _in_one_transaction(cursor: Cursor) -> list[str]:
    cursor.execute("SHOW server_encoding")
    (encoding,) = cursor.fetchone() or ("",)
    if encoding != "UTF8":
        raise MigrationError(f"the database's encoding is {encoding}: create it with ENCODING 'UTF8'")
    return [*_own_schema(cursor), *_marketplace(cursor), *_views(cursor), *_opened(cursor), *_executable(cursor)]


def _current(connection: Connection) -> tuple[bool, bool]:
    """(schema and views, indexes): whether there is nothing to do."""
    with connection, connection.cursor() as cursor:
        schema = _is_current(cursor)
        return schema, schema and indexes.complete(cursor)


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """One process migrates at a time. The others ask again and again: one that waits in a transaction would keep an
    index from being finished."""
    got = False
    while not got:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", (lock_key("migrate"),))
            (got,) = cursor.fetchone() or (False,)
        if not got:
            time.sleep(0.2)
    try:
        yield
    finally:
        if not connection.closed:
            connection.rollback()
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", (lock_key("migrate"),))


def _without_waiting(connection: Connection, work: Callable[[Cursor], list[str]]) -> list[str]:
    """`work` as one transaction whose locks are had within seconds or not at all, tried several times.

    Whoever waits for an exclusive lock makes every reader behind him wait too.
    """
    for attempt in range(indexes.ATTEMPTS):
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", (indexes.LOCK_TIMEOUT,))
                return work(cursor)
        except indexes.IN_THE_WAY:
            time.sleep(indexes.PAUSE * (1 + attempt))
    with connection, connection.cursor() as cursor:
        raise MigrationError(
            f"open transactions keep the tables from being changed ({indexes.blockers(cursor)}): end them, or run "
            "`litgo migrate` when less goes on; nothing was changed"
        )


def _is_current(cursor: Cursor) -> bool:
    """Whether there is nothing to do. Columns are looked up where they show whatever the reader's rights."""
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{SCHEMA}.schema_migrations",))
    if not cursor.fetchone()[0]:
        return False
    cursor.execute(f"SELECT version, sha256 FROM {SCHEMA}.schema_migrations")
    if dict(cursor.fetchall()) != {version: sha256 for version, _, sha256, _ in migrations()}:
        return False
    mapping = views.wanted(cursor)
    return not (_with_row_security(cursor) or _closed_functions(cursor)) and views.up_to_date(cursor, mapping)


def _with_row_security(cursor: Cursor) -> list[str]:
    """Tables of ours whose rows are hidden from every role but the owner's, for no policy is ours."""
    cursor.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind IN ('r', 'p') "
        "AND relrowsecurity ORDER BY 1",
        (SCHEMA,),
    )
    return [name for (name,) in cursor.fetchall()]


def _opened(cursor: Cursor) -> list[str]:
    """Row security off on our own tables: an event trigger of theirs may put it on every new one."""
    found = _with_row_security(cursor)
    for name in found:
        cursor.execute(f"ALTER TABLE {SCHEMA}.{quoted(name)} DISABLE ROW LEVEL SECURITY")
    if still := _with_row_security(cursor):
        raise MigrationError(
            f"an event trigger keeps row security on {SCHEMA}.{still[0]}, which hides its rows from the pipelines: let "
            f"it leave the schemas {SCHEMA} and {SOURCE_SCHEMA} alone"
        )
    said = f"row security was on for {len(found)} of our own tables: switched off, grants say who may read them"
    return [said] if found else []


def _closed_functions(cursor: Cursor) -> list[str]:
    """Functions of ours with the caller's rights that not everybody may execute.

    Whoever writes a lawyer runs those of our indexes: without the right the marketplace could not write any more.
    """
    cursor.execute(
        "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE pronamespace = to_regnamespace(%s) AND NOT prosecdef "
        "AND NOT EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) a WHERE a.grantee = 0) "
        "ORDER BY 1",
        (SCHEMA,),
    )
    return [name for (name,) in cursor.fetchall()]


def _executable(cursor: Cursor) -> list[str]:
    """Default privileges of theirs may keep every new function from everybody."""
    found = _closed_functions(cursor)
    for function in found:
        cursor.execute(f"GRANT EXECUTE ON FUNCTION {function} TO PUBLIC")
    said = f"{len(found)} functions of ours were closed to those who write to indexed tables: opened again"
    return [said] if found else []


def _own_schema(cursor: Cursor) -> list[str]:
    if foreign := ours.problem(cursor):
        raise MigrationError(foreign)
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


def _marketplace(cursor: Cursor) -> list[str]:
    """Create a marketplace where there is none; add to an existing one the equity columns that its mapping names."""
    mapping = views.wanted(cursor)
    present = {name for name, table in mapping.tables.items() if _exists(cursor, table)}
    if not present and mapping.name == views.DEFAULT:
        cursor.execute(sql("litgo_pipelines.marketplace", "tables.sql"))
        cursor.execute(f"INSERT INTO {SCHEMA}.own_marketplace DEFAULT VALUES ON CONFLICT DO NOTHING")
        return ["no marketplace found: created its tables, empty"]
    if missing := sorted(set(TABLES) - present):
        raise MigrationError(
            f"a marketplace without {', '.join(missing)}: its own migrations must create them first, or "
            f"LITGO_MARKETPLACE_MAPPING says where they are (now: {mapping.name})"
        )
    done = []
    lawyers = mapping.tables["lawyers"]
    for column, kind in EQUITY_COLUMNS.items():
        theirs = lawyers.forms[column][0].column
        cursor.execute(
            "SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s AND NOT attisdropped",
            (lawyers.quoted, theirs),
        )
        if theirs and cursor.fetchone() == (0,):
            if not views.is_table(cursor, lawyers):
                raise MigrationError(
                    f"{'.'.join(lawyers.relation)} is a view or a foreign table, and has no column {theirs}: add it "
                    f"({kind}) to the table behind it and to it, or write null beside lawyers.{column} in the mapping"
                )
            cursor.execute(f"ALTER TABLE {lawyers.quoted} ADD COLUMN {quoted(theirs)} {kind}")
            done.append(f"existing marketplace: added {lawyers.relation[1]}.{theirs} ({kind})")
    return done


def _exists(cursor: Cursor, table: SourceTable) -> bool:
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (table.quoted,))
    return bool(cursor.fetchone()[0])


def _views(cursor: Cursor) -> list[str]:
    mapping = views.wanted(cursor)
    fitted = views.fit(cursor, mapping)
    if fitted.problems:
        others = [name for name in views.packaged() if not views.fit(cursor, views.load(name)).problems]
        advice = (
            f"the mapping {others[0]!r} fits: set LITGO_MARKETPLACE_MAPPING={others[0]}"
            if others
            else "correct a copy of marketplace/mappings/default.yaml and set LITGO_MARKETPLACE_MAPPING to it"
        )
        raise MigrationError("\n  ".join([f"the marketplace does not fit its mapping; {advice}", *fitted.problems]))
    views.create(cursor, fitted)
    cursor.execute("SELECT count(*) FROM pg_roles WHERE rolname IN ('litgo_pipelines', 'litgo_exporter')")
    if cursor.fetchone() == (2,):
        cursor.execute(sql("litgo_pipelines.database", "roles_views.sql"))
    return [
        f"views in {SOURCE_SCHEMA} made from the mapping {mapping.name}",
        *fitted.absent(),
    ]
