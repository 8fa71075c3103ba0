"""Session check: whether a connection keeps the same backend over several transactions, with the settings made in it.

Locks of a session, prepared statements and settings need one. A pooler in transaction mode gives each transaction
whichever backend is free, and says nothing.
"""

import contextlib
import os
import selectors
import time

import psycopg2
from psycopg2 import extensions

from litgo_pipelines.database import urls
from litgo_pipelines.database.urls import DatabaseRefused

POOLED = (
    "this address is a pooler that changes backends between transactions (transaction mode), where locks, settings and "
    "prepared statements are lost: use the pooler's session mode (Supabase: port 5432 of the pooler), or the server"
)
SECONDS = 3.0  # that a second connection may take; one that waits for a place shares nothing
_verified: set[tuple[int, str]] = set()  # process and URL


def verify(url: str, first: int, found: tuple[object, ...] | None) -> None:
    """`first`: the backend of the first transaction; `found`: what `KEPT` gave in the next. Raises DatabaseRefused."""
    from sqlalchemy.engine import make_url

    backend, path, zone, database, role = found or (None,) * 5
    if backend != first or path != "pg_catalog, litgo_source, pg_temp" or zone != "UTC":
        raise DatabaseRefused(POOLED)
    normalised = urls.normalise(url)
    asked = make_url(normalised).database
    if asked and database != asked:
        raise DatabaseRefused(
            f"connected to the database {database!r}, not to {asked!r} as the URL says: a pooler leads elsewhere"
        )
    if (wanted := urls.role_of(normalised)) and role != wanted:
        raise DatabaseRefused(
            f"?options= asks for the role {wanted!r}, and this session has {role!r}: a pooler ignores it. Connect as a "
            "user who is that role, or `ALTER USER … SET role`"
        )
    if (key := (os.getpid(), url)) not in _verified:  # once a process
        if _other_backend(url) == backend:
            raise DatabaseRefused(POOLED)
        _verified.add(key)


def _other_backend(url: str) -> int | None:
    """The backend of a second connection beside the first: the same one only where a pooler shares it."""
    until = time.monotonic() + SECONDS
    with contextlib.suppress(psycopg2.Error, TimeoutError):
        dsn = urls.libpq(urls.normalise(url))
        other = psycopg2.connect(dsn, application_name="litgo-session", async_=True)
        with contextlib.closing(other):
            wait(other, until)
            with other.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                wait(other, until)
                row = cursor.fetchone()
                return int(row[0]) if row else None
    return None


def wait(connection: extensions.connection, until: float) -> None:
    """For an asynchronous connection, until the monotonic clock's `until`. Raises TimeoutError."""
    while (state := connection.poll()) != extensions.POLL_OK:
        event = selectors.EVENT_READ if state == extensions.POLL_READ else selectors.EVENT_WRITE
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), event)
            if not selector.select(max(0.0, until - time.monotonic())):
                raise TimeoutError
