"""Errors of the database without what its rows hold.

Postgres' messages may quote a whole row (a failing check), a key, a value, the statement with its parameters, or what
somebody's trigger wrote into them. All of that ends in logs and in Dagster's event log. Every error of our connections
is raised anew here, of the same class: what it is, the objects it names, and what to do.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any, ParamSpec, TypeAlias, TypeVar

import psycopg2
from psycopg2.errors import (
    CheckViolation,
    InsufficientPrivilege,
    LockNotAvailable,
    ProgramLimitExceeded,
    SequenceGeneratorLimitExceeded,
)
from psycopg2.extensions import connection as _Connection
from psycopg2.extensions import cursor as _Cursor
from psycopg2.sql import Composable

from litgo_pipelines.database import watch

Query: TypeAlias = str | bytes | Composable
Parameters = Mapping[str, object] | Sequence[object] | None
P = ParamSpec("P")
R = TypeVar("R")

# Classes whose first line names objects, limits and states, never values.
_NAMES_OBJECTS = ("08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58")
_QUOTES_INPUT = ("42601",)
READ_ONLY = "the database is read-only (a full disk, or a replica): make room, or use the primary"
_TO_DO = {
    "23": "a row breaks a rule of the marketplace: look at it, or at the rule",
    "P0": "a trigger or function refused the row: look at what it demands",
    "21": "an id stands for several rows: `litgo doctor` names the table",
    "22": "a value does not fit: the contract check's page lists such columns",
    "2200H": "the ids of a table have run out: let the sequence and its column be bigint",
    "25006": READ_ONLY,
    "428C9": "the marketplace computes a column that is written: `litgo doctor` names it and what to do",
    "42501": "a right is missing: run `python -m litgo_pipelines.database.roles` as the owner of the tables",
    "42704": "an object is not there: of a foreign table, the user mapping of its server; of ours, run `litgo migrate`",
    "42P17": "a row security policy of theirs asks its own table, in a circle: let it ask a SECURITY DEFINER function",
    "42": "the database is not what this version needs: run `litgo migrate`",
    "XX": "another session changed the same object meanwhile, or the server found something wrong in a table's files: "
    "run it again; its log says what",
    "HV": "a foreign table does not fit its server: look at its definition, its server's options and the user mapping",
    "40": "run it again",
    "53": "the server is at a limit: connections, memory or disk",
    "55P03": "another session holds the row or table: it is tried again",
    "57014": "it took too long or was canceled: see what else the server does (pg_stat_activity)",
    "57": "the server is going down or starting: it is tried again",
    "08": "the connection is gone: it is tried again",
}
# In the server's language: «função PL/pgSQL f() linha 1 em RAISE», «PL/pgSQL-Funktion f() Zeile 1». Before it may stand
# «PL/pgSQL assignment "x := f()"».
_FUNCTION = (
    r'PL/[A-Za-z]+(?:-\w+| function|関数|函数)?[\s«»„“]*([\w."]+)\('
    r'|(?:(?:função|función|fonction|функция) SQL|SQL(?:-Funktion| function))[\s«»„“]*([\w."]+)'
)
# Where the server says 54000 of itself: out of transaction ids, of room for notifications, of blocks of a table.
# Elsewhere it is about a value that is too long. A file's name is in no language.
_LIMITS = {
    "varsup.c": "the server has run out of transaction ids: end old transactions, prepared ones and replication slots "
    "that nobody reads, and VACUUM the database that its log names",
    "multixact.c": "the server has run out of multixact ids: VACUUM the database that its log names",
    "xact.c": "a transaction has run too many commands",
    "async.c": "the queue of notifications is full: end the session that listens and stays in a transaction "
    "(pg_stat_activity), then SELECT pg_notification_queue_usage(), which clears it",
    "md.c": "a table is as large as one can be: partition it",
    "bufmgr.c": "a table is as large as one can be: partition it",
    "localbuf.c": "a temporary table is as large as one can be",
}
_OURS = r"(?:\w+ )?PL/pgSQL(?:-\w+| function)? (litgo|litgo_source)\."
_ELSEWHERE = r"(?m)^remote SQL command: "  # the server behind a foreign table said it


def without_rows(error: psycopg2.Error) -> psycopg2.Error:
    """The same error, of the same class and SQLSTATE, with nothing of a row, a statement or a parameter."""
    if getattr(error, "said", False):
        return error
    code, found = error.pgcode, error.diag
    if code is None:  # the client's own: a connection that is gone, a cursor that is closed
        text = str(error).strip() if isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError)) else ""
        made = type(error)(text or f"{type(error).__name__}: a value that the client cannot send or read")
    else:
        made = type(error)(_text(type(error).__name__, code, found))
        made.__setstate__({"pgcode": code, "pgerror": str(made)})
    # For who shows them to the person at the terminal; no text of the error holds them.
    made.__dict__.update(
        constraint=found.constraint_name,
        table=found.table_name,
        primary=found.message_primary,
        function=function_of(found.context or ""),
        limit=_limit(code, found),
        said=True,
    )
    return made


def _limit(code: str, found: psycopg2.extensions.Diagnostics) -> str | None:
    """What to do about a limit of the server's, which is no row's; None for every other error."""
    return _LIMITS.get((found.source_file or "").rpartition("/")[2]) if code == "54000" else None


def function_of(context: str) -> str | None:
    """The innermost function that an error's context names, in whichever language the server speaks."""
    raised = re.search(_FUNCTION, context)
    return raised[1] or raised[2] if raised else None


# What a check, a limit of the server's or another session's lock says to a row, whoever raised it.
_REFUSED = (
    psycopg2.IntegrityError,
    psycopg2.InternalError,
    psycopg2.DataError,
    InsufficientPrivilege,
    LockNotAvailable,
    ProgramLimitExceeded,  # a text too long for an index or a search vector of theirs
)
# Of the transaction, the session or the server, also when it strikes inside a trigger.
_OF_ALL_ROWS = ("08", "25", "40", "53", "57", "58")
# The same without what passes or may be the fault of one row: its time limit, a deadlock.
_OF_THE_SERVER = ("08", "25", "53", "57P", "58")
# What is not there, not allowed or not possible whichever row it is. HV: a foreign table's server.
_OF_THE_SCHEMA = ("0A", "28", "3D", "3F", "42", "55000", "HV")


def refuses_a_row(error: BaseException) -> bool:
    """Whether it is the row that is refused: by a check, a lock, or a function of theirs, whatever its SQLSTATE."""
    if not isinstance(error, psycopg2.Error) or error.pgcode is None or error.pgcode.startswith(_OF_ALL_ROWS):
        return False
    if getattr(error, "limit", None):  # of the server's, not of a value
        return False
    return isinstance(error, _REFUSED) or _raised_by_theirs(error)


def of_the_database(error: BaseException) -> bool:
    """Whether the database is in trouble and no row: gone, read-only, full, or without what the statement names.

    Who works row by row raises it: every other row would fail alike, and be given up for nothing.
    """
    if isinstance(error, psycopg2.InterfaceError):
        return True
    if not isinstance(error, psycopg2.Error) or error.pgcode is None:
        return isinstance(error, psycopg2.OperationalError)
    if error.pgcode.startswith(_OF_THE_SERVER) or getattr(error, "limit", None):
        return True
    if isinstance(error, SequenceGeneratorLimitExceeded):
        return True
    if no_partition(error) and _raised_by_theirs(error):  # of a log of theirs: whichever row it is about
        return True
    return not refuses_a_row(error) and error.pgcode.startswith(_OF_THE_SCHEMA)


def no_partition(error: BaseException) -> bool:
    """Whether a table has no partition for a row: one by time lacks the next for every row there will be."""
    return (
        isinstance(error, CheckViolation)
        and getattr(error, "constraint", None) is None
        and getattr(error, "table", None) is not None  # who raises the same by hand names no table
    )


def _raised_by_theirs(error: psycopg2.Error) -> bool:
    function = getattr(error, "function", None)
    return bool(function) and not str(function).startswith(("litgo.", "litgo_source."))


def error_kind(error: BaseException) -> str:
    """What went wrong without a word of any text: the error's type, and what Postgres calls it."""
    if isinstance(wrapped := getattr(error, "orig", None), BaseException):  # SQLAlchemy's, with the whole statement
        return f"{type(error).__name__} of {error_kind(wrapped)}"
    if isinstance(error, psycopg2.Error):
        constraint = getattr(error, "constraint", None) or error.diag.constraint_name
        return " ".join(filter(None, (type(error).__name__, error.pgcode, constraint)))
    return type(error).__name__


def error_line(error: BaseException) -> str:
    """For a log: the error's words; of SQLAlchemy's, which hold statement and parameters, only what went wrong."""
    return error_kind(error) if hasattr(error, "orig") else f"{type(error).__name__}: {error}"


def _text(name: str, code: str, found: psycopg2.extensions.Diagnostics) -> str:
    context = found.context or ""
    raised = function_of(context)
    elsewhere = not raised and bool(re.search(_ELSEWHERE, context))
    ours = not context or bool(re.match(_OURS, context))
    names = code[:2] in _NAMES_OBJECTS
    quotable = code not in _QUOTES_INPUT and (names or (code == "P0001" and bool(context)))
    message = f": {found.message_primary}" if quotable and (ours or (elsewhere and names)) else ""
    place = ".".join(filter(None, (found.schema_name, found.table_name, found.column_name)))
    named = [
        f"constraint {found.constraint_name}" if found.constraint_name else "",
        f"at {place}" if place else "",
        f"type {found.datatype_name}" if found.datatype_name else "",
        f"raised in {raised}" if raised and not ours else "",
    ]
    advice = _limit(code, found) or _TO_DO.get(code) or _TO_DO.get(code[:2])
    if code == "23514" and found.table_name and not found.constraint_name:
        advice = "no partition of the table takes the row: make the one that is missing"
    if raised and not ours and code.startswith("42"):  # it is not our statement that names what is not there
        advice = _TO_DO["P0"]
    elif elsewhere and code.startswith("42"):
        advice = _TO_DO["HV"]
    return (
        f"{name} ({code}){message}" + "".join(f", {one}" for one in named if one) + (f" — {advice}" if advice else "")
    )


class CleanCursor(_Cursor):
    """A cursor whose errors are `without_rows`, and whose calls end when the server has fallen silent."""

    def execute(self, query: Query, vars: Parameters = None) -> None:
        _clean(self.connection, super().execute, query, vars)

    def executemany(self, query: Query, vars_list: Iterable[Parameters]) -> None:
        _clean(self.connection, super().executemany, query, vars_list)

    def copy_expert(self, sql: Query, file: IO[str] | IO[bytes], size: int = 8192) -> None:
        _clean(self.connection, super().copy_expert, sql, file, size)

    def fetchone(self) -> tuple[Any, ...] | None:
        return _clean(self._asked, super().fetchone)

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        return _clean(self._asked, super().fetchmany, self.arraysize if size is None else size)

    def fetchall(self) -> list[tuple[Any, ...]]:
        return _clean(self._asked, super().fetchall)

    @property
    def _asked(self) -> _Connection | None:
        """Whom a fetch asks: nobody, unless the cursor is the server's."""
        return self.connection if self.name else None


class CleanConnection(_Connection):
    """A connection whose errors are `without_rows`; a deferred constraint speaks at the commit."""

    def __init__(self, dsn: str, async_: int = 0) -> None:
        super().__init__(dsn, async_)
        self.cursor_factory = CleanCursor
        self.peer: watch.Peer | None = None  # not watched

    def commit(self) -> None:
        _clean(self, super().commit)

    def rollback(self) -> None:
        """A connection that is gone has rolled back: the error that told so stays the one that is seen."""
        if not self.closed:
            try:
                _clean(self, super().rollback)
            except psycopg2.Error:
                if not self.closed:
                    raise


def _clean(connection: _Connection | None, call: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    # Raised outside the handler: inside it the error with the row would follow as its context.
    with watch.call(connection) as mine:
        try:
            return call(*arguments, **named)
        except psycopg2.Error as error:
            silent = mine is not None and mine.given_up
            clean = psycopg2.OperationalError(mine.given_up) if mine and silent else without_rows(error)
    raise clean
