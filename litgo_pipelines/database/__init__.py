"""Connections to Postgres and the rules all of them share.

Belongs here: URL normalisation, connecting, locks. SQL of a stage stands beside the stage.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import TypeVar

import psycopg2
from psycopg2.extensions import TransactionRollbackError
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from litgo_pipelines.database import connecting, session, urls, values, watch
from litgo_pipelines.database.errors import CleanConnection
from litgo_pipelines.database.errors import error_kind as error_kind
from litgo_pipelines.database.errors import no_partition as no_partition
from litgo_pipelines.database.errors import of_the_database as of_the_database
from litgo_pipelines.database.errors import refuses_a_row as refuses_a_row
from litgo_pipelines.database.urls import DatabaseRefused as DatabaseRefused

SCHEMA = "litgo"
# Whatever a role, a database or a pooler sets: built-in names mean the server's own, the marketplace's tables are the
# source views, and a temporary table stands for neither.
SEARCH_PATH = "SET search_path = pg_catalog, litgo_source, pg_temp; SET TimeZone = 'UTC'"
# The same for limits, and for what changes a statement's meaning, the rows that an index finds, or a value's digits.
SESSION = f"""
SET quote_all_identifiers = off;
{SEARCH_PATH};
SET statement_timeout = '1h';
SET idle_in_transaction_session_timeout = '1h';
SET lock_timeout = 0;
SET idle_session_timeout = 0;
SET default_transaction_isolation = 'read committed';
SET row_security = on;
SET standard_conforming_strings = on;
SET transform_null_equals = off;
SET array_nulls = on;
SET gin_fuzzy_search_limit = 0;
SET DateStyle = 'ISO, MDY';
SET IntervalStyle = 'postgres';
SET extra_float_digits = 1;
SET bytea_output = 'hex';
SET exit_on_error = off
"""
NEWER_SESSION = "; SET transaction_timeout = 0"  # since PostgreSQL 17
# In the transaction after that: what a session must still have.
KEPT = (
    "SELECT pg_backend_pid(), current_setting('search_path'), current_setting('TimeZone'), current_database(), "
    "current_setting('role')"
)
STATEMENT_SECONDS = 3600.0  # as SESSION says
# A machine that is gone is noticed by TCP within a minute, a peer that falls silent by `watch`.
KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
CONNECT_SECONDS = 8  # per address; a name may have several
PREPARE_SECONDS = 15.0  # of the first statements each
TRY_SECONDS = 30.0  # afterwards there is no further try
MOST_REFUSED = 5_000  # beyond that it is no matter of single rows
T = TypeVar("T")


class DatabaseUnavailable(RuntimeError):
    """No connection could be had; transient, worth a retry."""


def normalise(url: str, database: str | None = None) -> str:
    """`postgresql+psycopg2://…`, with another database name where one is given. Raises DatabaseRefused.

    A bare `postgresql://` means psycopg 3 to SQLAlchemy 2.1, and then Dagster and MLflow fail.
    """
    return urls.normalise(url, database)


def libpq(url: str) -> str:
    """The same URL as libpq (psql, psycopg2) reads it."""
    return urls.libpq(normalise(url))


def open_connection(
    url: str, *, application_name: str = "litgo", attempts: int = 3, statement_seconds: float | None = None
) -> Connection:
    """A psycopg2 connection the caller closes, with a session as `SESSION` says.

    `statement_seconds`: of each statement, an hour when None. Raises DatabaseUnavailable after `attempts` tries with
    growing pauses, DatabaseRefused for what no further try mends.
    """
    from sqlalchemy.engine import make_url

    began = time.monotonic()
    for attempt in range(1, attempts + 1):
        try:
            opened = psycopg2.connect(
                libpq(url),
                application_name=application_name,
                connect_timeout=CONNECT_SECONDS,
                client_encoding="UTF8",
                connection_factory=CleanConnection,
                **KEEPALIVES,
            )
            return _prepared(opened, url, statement_seconds)
        except psycopg2.OperationalError as error:
            if attempt == attempts or time.monotonic() - began > TRY_SECONDS:
                parsed = make_url(normalise(url))
                host = parsed.host or parsed.query.get("host") or "the local socket"
                said = urls.without_credentials(str(error).strip())
                raise DatabaseUnavailable(
                    f"no connection to Postgres at {host} after {attempt} attempts: {said} — "
                    + connecting.advice(said, str(host))
                ) from error
            time.sleep(0.5 * 2**attempt)
    raise ValueError("attempts must be at least 1")


def session_of(opened: Connection) -> str:
    """Statements that make a session ours, whatever its role, its database or a pooler sets."""
    return SESSION + (NEWER_SESSION if opened.server_version >= 170_000 else "")


def _prepared(opened: CleanConnection, url: str, statement_seconds: float | None) -> Connection:
    """Settings are made after connecting, and looked at: a pooler ignores or refuses those of a connection's start."""
    dsn = libpq(url)
    try:
        opened.peer = watch.Peer(dsn, None, PREPARE_SECONDS)
        values.register(opened)
        with opened.cursor() as cursor:
            cursor.execute(f"{session_of(opened)}; SELECT pg_backend_pid()")
            (first,) = cursor.fetchone() or (0,)
            opened.commit()
            cursor.execute(KEPT)
            found = cursor.fetchone()
            if statement_seconds is not None:
                cursor.execute(f"SET statement_timeout = {statement_seconds * 1000:.0f}")
            opened.commit()
        session.verify(url, first, found)
        opened.peer = watch.Peer(dsn, first, (statement_seconds or STATEMENT_SECONDS) + watch.GRACE)
    except BaseException:
        opened.close()
        raise
    return opened


@contextmanager
def connect(
    url: str, *, application_name: str = "litgo", attempts: int = 3, statement_seconds: float | None = None
) -> Iterator[Connection]:
    """One connection, one transaction: commits at the end, rolls back on an error. Raises as `open_connection`."""
    connection = open_connection(
        url, application_name=application_name, attempts=attempts, statement_seconds=statement_seconds
    )
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def in_transaction(
    connection: Connection, work: Callable[[Cursor], T], attempts: int = 3, also: tuple[type[Exception], ...] = ()
) -> T:
    """`work(cursor)` as one transaction; again after a deadlock or a serialisation failure, or `also`."""
    for attempt in range(1, attempts + 1):
        try:
            with connection, connection.cursor() as cursor:
                return work(cursor)
        except (TransactionRollbackError, *also):
            if attempt == attempts:
                raise
    raise ValueError("attempts must be at least 1")


def piecewise(
    cursor: Cursor, ids: Sequence[str], work: Callable[[Cursor, Sequence[str]], int], lock_seconds: float = 2
) -> tuple[int, dict[str, str]]:
    """`work(cursor, ids)` in the caller's transaction, in as few parts as the rows allow: (sum, id → why not).

    What a trigger, a check or another session's lock refuses one row is that row's affair: the part is halved until
    the row is alone. A connection that is gone raises.
    """
    done, refused = 0, {}
    parts = [list(ids)] if ids else []
    while parts:
        part = parts.pop()
        cursor.execute("SAVEPOINT part")
        try:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", (f"{lock_seconds * 1000:.0f}",))
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what is deferred must not undo all parts at the commit
            done += work(cursor, part)
        except psycopg2.Error as error:
            if not refuses_a_row(error):
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT part")
            if len(part) == 1:
                refused[part[0]] = error_kind(error)
                if len(refused) > MOST_REFUSED:
                    raise
            else:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
            lock_seconds = min(lock_seconds, 0.2)  # the others of a locked row's part must not wait long for it
        cursor.execute("RELEASE SAVEPOINT part")
    cursor.execute("SET LOCAL lock_timeout = 0")
    return done, refused


def advisory_lock(cursor: Cursor, name: str) -> None:
    """Wait until no other transaction holds the lock `name`; released when this transaction ends."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key(name),))


@contextmanager
def session_lock(connection: Connection, name: str) -> Iterator[None]:
    """Hold the lock `name` over several transactions of one connection; a connection that dies releases it."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = 0")  # of rows; for this one is waited
        cursor.execute("SELECT pg_advisory_lock(%s)", (lock_key(name),))
    try:
        yield
    finally:
        if not connection.closed:
            connection.rollback()
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", (lock_key(name),))


def lock_key(name: str) -> int:
    """The number that stands for the advisory lock `name`."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


@cache
def sql(package: str, name: str) -> str:
    """The text of a `.sql` file that stands beside the module `package`."""
    return files(package).joinpath(name).read_text(encoding="utf-8")
