"""Connections kept between short looks at the database, as sensors take many times a minute.

Connecting costs the server a process, its caches and the plans of what is asked: more than most looks themselves.
Does not belong here: work of a run, which opens a connection of its own and ends with it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, cast

from litgo_pipelines.database import Connection, open_connection

if TYPE_CHECKING:
    from sqlalchemy.pool import QueuePool

SECONDS = 600  # then a new one: its server may have become a standby, its caches large
MOST = 4  # that rest at a time, of one use


@contextmanager
def connect(url: str, *, application_name: str, statement_seconds: float | None = None) -> Iterator[Connection]:
    """As `database.connect`, one transaction, on a connection that a former look left; nobody else has it meanwhile.

    What raised inside ends the connection too. Raises as `open_connection`.
    """
    taken = _pool(url, application_name, statement_seconds, os.getpid()).connect()
    connection = cast(Connection, taken.dbapi_connection)
    try:
        with connection:
            yield connection
    except BaseException:
        taken.invalidate()
        raise
    taken.close()  # goes back


@cache
def _pool(url: str, application_name: str, statement_seconds: float | None, process: int) -> "QueuePool":
    """A forked process has its own; its parent's connections are closed by nobody but their process."""
    import psycopg2
    from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
    from sqlalchemy.pool import QueuePool

    return QueuePool(
        partial(open_connection, url, application_name=application_name, statement_seconds=statement_seconds),
        pool_size=MOST,
        max_overflow=-1,
        use_lifo=True,
        recycle=SECONDS,
        pre_ping=True,
        dialect=PGDialect_psycopg2(dbapi=psycopg2),
    )
