"""Connections kept between short looks at the database, as sensors take many times a minute.

Connecting costs the server a process, its caches and the plans of what is asked: more than most looks themselves.
Does not belong here: work of a run, which opens a connection of its own and ends with it.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2

from litgo_pipelines.database import Connection, open_connection

SECONDS = 600.0  # then a new one: its server may have become a standby, its caches large
MOST = 4  # that rest at a time; the one that rests longest makes room


@dataclass(frozen=True)
class _Kept:
    connection: Connection
    opened: float
    use: tuple[str, str, float | None]  # URL, application, limit of a statement


_resting: list[_Kept] = []
_lock = threading.Lock()


def _after_fork() -> None:
    global _resting, _lock
    _resting, _lock = (
        [],
        threading.Lock(),
    )  # they are the parent's; psycopg2 lets go of them without a word to the server


os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def connect(url: str, *, application_name: str, statement_seconds: float | None = None) -> Iterator[Connection]:
    """As `database.connect`, one transaction, on a connection that a former look left; nobody else has it meanwhile.

    What raised inside ends the connection too. Raises as `open_connection`.
    """
    use = url, application_name, statement_seconds
    kept = _take(use)
    if kept is None:
        opened = open_connection(url, application_name=application_name, statement_seconds=statement_seconds)
        kept = _Kept(opened, time.monotonic(), use)
    try:
        with kept.connection:
            yield kept.connection
    except BaseException:
        kept.connection.close()
        raise
    with _lock:
        _resting.append(kept)
        over = [_resting.pop(0) for _ in range(len(_resting) - MOST)]
    for one in over:
        one.connection.close()


def _take(use: tuple[str, str, float | None]) -> _Kept | None:
    """One of this use that is young and still answers."""
    while True:
        with _lock:
            kept = next((one for one in reversed(_resting) if one.use == use), None)
            if kept is None:
                return None
            _resting.remove(kept)
        if time.monotonic() - kept.opened < SECONDS and _answers(kept.connection):
            return kept
        kept.connection.close()


def _answers(connection: Connection) -> bool:
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (psycopg2.Error, TimeoutError):
        return False
    return True
