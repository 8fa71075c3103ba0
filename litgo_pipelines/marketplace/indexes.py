"""Indexes on the marketplace's tables: what the mapping makes of `indexes.sql`, and making what nothing stands for.

An index of theirs that serves as well is good enough. Ours are made CONCURRENTLY, outside any transaction: the
marketplace goes on writing, and nobody waits behind us for longer than LOCK_TIMEOUT.
"""

import hashlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import psycopg2

from litgo_pipelines.database import Connection, Cursor, sql, watch
from litgo_pipelines.marketplace import views
from litgo_pipelines.marketplace.mapping import quoted
from litgo_pipelines.marketplace.views import FittedTable, one

# For what would make readers wait behind us; below the second after which a server looks for a deadlock: of a reader
# and us it is we who give way.
LOCK_TIMEOUT = "800ms"
IN_THE_WAY = (psycopg2.errors.LockNotAvailable, psycopg2.extensions.TransactionRollbackError)
BUILD_TIMEOUT = "30s"  # for what waits for the transactions of others and holds nobody up meanwhile
ATTEMPTS, PAUSE = 5, 1.0

_WISH = re.compile(r"CREATE INDEX (\w+) ON (\w+) USING (\w+) \((.+?)\)(?: WHERE (.+?))?;")


@dataclass(frozen=True)
class Wish:
    """An index in the marketplace's names; `reason`: why the mapping allows none."""

    name: str
    relation: str  # quoted, with its schema
    schema: str
    method: str
    keys: str
    where: str | None
    reason: str | None = None


@dataclass(frozen=True)
class Known:
    """An index as the catalogue says it, `keys` and `where` in the server's words."""

    oid: int
    name: str
    method: str
    keys: tuple[str, ...]
    where: str | None
    valid: bool
    definition: str

    def serves(self, wanted: "Known") -> bool:
        """Whether what `wanted` finds is found by this one too: a longer one, or one of more rows, does."""
        keys = self.keys[: len(wanted.keys)] if self.method == "btree" else self.keys
        return (
            self.valid and self.method == wanted.method and keys == wanted.keys and self.where in (None, wanted.where)
        )


def wishes(tables: dict[str, FittedTable]) -> list[Wish]:
    """Those of `indexes.sql`; a column that is no column of theirs has no index."""
    found = []
    for name, table, method, keys, where in _WISH.findall(sql("litgo_pipelines.marketplace", "indexes.sql")):
        fitted = tables[table]
        reasons: list[str] = []

        def theirs(match: re.Match[str], fitted: FittedTable = fitted, reasons: list[str] = reasons) -> str:
            form = fitted.chosen[match[1]]
            if form.column is None:
                reasons.append(f"{match[1]} is no column of {'.'.join(fitted.table.relation)}")
                return "NULL"
            return form.expression("") if form.plain else f"({form.expression('')})"

        keys, where = re.sub(r"\{(\w+)\}", theirs, keys), re.sub(r"\{(\w+)\}", theirs, where)
        found.append(
            Wish(
                name,
                fitted.table.quoted,
                fitted.table.relation[0],
                method,
                keys,
                where or None,
                "; ".join(reasons) or None,
            )
        )
    return found


def wanted_sha256() -> str:
    return hashlib.sha256(sql("litgo_pipelines.marketplace", "indexes.sql").encode()).hexdigest()


def complete(cursor: Cursor) -> bool:
    """Whether every wish was looked at, and what stands for it is there as it was. Who owns no table need not care."""
    cursor.execute("SELECT to_regclass('litgo.source_indexes') IS NOT NULL")
    if not one(cursor)[0]:
        return False
    cursor.execute(
        "SELECT count(*) FILTER (WHERE s.wanted_sha256 = %s AND (s.reason IS NOT NULL OR i.indisvalid "
        "AND pg_get_indexdef(s.index_oid) = s.definition)) FROM litgo.source_indexes s "
        "LEFT JOIN pg_index i ON i.indexrelid = s.index_oid",
        (wanted_sha256(),),
    )
    (good,) = one(cursor)
    if good == len(_WISH.findall(sql("litgo_pipelines.marketplace", "indexes.sql"))):
        return True
    cursor.execute("SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'litgo'")
    return not one(cursor)[0]


def ensure(connection: Connection) -> list[str]:
    """Make the indexes that nothing stands for; one line for each thing done or left. The views must be there.

    `connection`: in no transaction, and alone with this work.
    """
    with connection, connection.cursor() as cursor:
        fitted = views.fit(cursor, views.wanted(cursor))
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            return [line for wish in wishes(fitted.tables) for line in _ensure(connection, cursor, wish)]
    finally:
        connection.autocommit = False


def _ensure(connection: Connection, cursor: Cursor, wish: Wish) -> list[str]:
    wanted, reason = (None, wish.reason) if wish.reason else _as_the_server_says(connection, cursor, wish)
    if wanted is None and wish.where and not wish.reason:  # translated labels of an enum: no condition on them is fixed
        wish = replace(wish, where=None)
        wanted, reason = _as_the_server_says(connection, cursor, wish)
    if wanted is None:
        _keep(cursor, wish, None, reason)
        return [f"no index {wish.name}: {reason}"]
    there, before = _known(cursor, wish.relation), _kept(cursor, wish)
    ours = next((index for index in there if index.name == wish.name), None)
    same = next((index for index in there if index.serves(wanted)), None)
    if same is not None:
        if ours is not None and ours is not same:
            _drop(cursor, wish, ours)
        _keep(cursor, wish, same, None)
        return [] if same is ours or same.oid == before else [f"the index {same.name} serves as {wish.name}"]
    if ours is not None and not _drop(cursor, wish, ours):  # not finished, or made for another mapping
        refused, final = f"its old form could not be dropped ({blockers(cursor)})", False
    else:
        refused, final = _create(cursor, wish)
    made = next((index for index in _known(cursor, wish.relation) if index.name == wish.name and index.valid), None)
    if made is None and final:
        _keep(cursor, wish, None, refused)
        return [f"no index {wish.name}: {refused}"]
    if made is None:
        return [f"the index {wish.name} is not made: {refused}; `litgo migrate` tries again"]
    _keep(cursor, wish, made, None)
    return [f"made the index {wish.name}"]


def _as_the_server_says(connection: Connection, cursor: Cursor, wish: Wish) -> tuple[Known | None, str | None]:
    """The wish as an index on an empty copy: in the server's words, or why there can be none."""
    connection.autocommit = False
    try:
        cursor.execute(f"CREATE TEMP TABLE litgo_probe (LIKE {wish.relation}) ON COMMIT DROP")
        cursor.execute(_statement(wish, "", "pg_temp.litgo_probe"))
        cursor.execute("SELECT 'pg_temp.litgo_probe'::regclass::oid")
        return next(iter(_indexes(cursor, one(cursor)[0]))), None
    except psycopg2.Error as error:
        return None, _said(error)
    finally:
        connection.rollback()
        connection.autocommit = True


def _said(error: psycopg2.Error) -> str:
    """The server's sentence, which is about the index and no row."""
    return getattr(error, "primary", None) or str(error)


def _statement(wish: Wish, how: str, relation: str) -> str:
    where = f" WHERE {wish.where}" if wish.where else ""
    return f"CREATE INDEX {how} {wish.name} ON {relation} USING {wish.method} ({wish.keys}){where}"


def _known(cursor: Cursor, relation: str) -> list[Known]:
    cursor.execute("SELECT to_regclass(%s)::oid", (relation,))
    return list(_indexes(cursor, one(cursor)[0]))


def _indexes(cursor: Cursor, relation: int) -> Iterator[Known]:
    cursor.execute(
        sql("litgo_pipelines.marketplace", "known_indexes.sql"),
        (relation,),
    )
    for oid, name, method, keys, where, valid, definition in cursor.fetchall():
        yield Known(oid, name, method, tuple(keys), where, valid, definition)


# A partitioned table, a foreign one, a table of somebody else: trying again changes nothing.
_FINAL = (
    psycopg2.errors.FeatureNotSupported,
    psycopg2.errors.WrongObjectType,
    psycopg2.errors.InsufficientPrivilege,
)


def _create(cursor: Cursor, wish: Wish) -> tuple[str, bool]:
    """(why it could not be made, whether that is for good); empty when it could."""
    refused, final = "", False
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * attempt)
        try:
            cursor.execute(f"SET lock_timeout = '{BUILD_TIMEOUT}'; SET statement_timeout = 0")
            watch.without_limit(cursor.connection)
            cursor.execute(_statement(wish, "CONCURRENTLY", wish.relation))
            return "", False
        except psycopg2.Error as error:
            refused, final = _said(error), isinstance(error, _FINAL)
            waited = isinstance(error, IN_THE_WAY)
            if waited:
                refused = f"an open transaction of somebody else was in the way ({blockers(cursor)})"
            left = [index for index in _known(cursor, wish.relation) if index.name == wish.name and not index.valid]
            if not all(_drop(cursor, wish, index) for index in left) or not waited:
                break
    return refused, final


def _drop(cursor: Cursor, wish: Wish, index: Known) -> bool:
    """False when an open transaction was in the way: it stays, unfinished, and the next `litgo migrate` drops it."""
    cursor.execute(f"SET lock_timeout = '{BUILD_TIMEOUT}'")
    try:
        cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(wish.schema)}.{quoted(index.name)}")
    except IN_THE_WAY:
        return False
    return True


def _kept(cursor: Cursor, wish: Wish) -> int | None:
    """What stood for the wish so far."""
    cursor.execute("SELECT max(index_oid::bigint) FROM litgo.source_indexes WHERE name = %s", (wish.name,))
    found: int | None = one(cursor)[0]
    return found


def _keep(cursor: Cursor, wish: Wish, index: Known | None, reason: str | None) -> None:
    cursor.execute(
        "INSERT INTO litgo.source_indexes (name, wanted_sha256, index_oid, definition, reason) "
        "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (name) DO UPDATE SET wanted_sha256 = excluded.wanted_sha256, "
        "index_oid = excluded.index_oid, definition = excluded.definition, reason = excluded.reason",
        (wish.name, wanted_sha256(), index and index.oid, index and index.definition, reason),
    )


def blockers(cursor: Cursor) -> str:
    """The longest open transactions of this database, without what they do."""
    cursor.execute(sql("litgo_pipelines.marketplace", "blockers.sql"))
    return "; ".join(row for (row,) in cursor.fetchall()) or "none that this user may see"
