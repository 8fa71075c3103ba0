"""Small helpers of many tests. What holds rows or answers requests is in `worlds/`."""

import fcntl
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg2
import pytest

from litgo_pipelines.database import DatabaseUnavailable, libpq, normalise

PROJECT = Path(__file__).resolve().parent.parent  # the checkout
# Of pg_locks, which shows the whole server's: other test processes have databases on it.
HERE = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"


def execute(url: str, *statements: str) -> None:
    """Run statements outside a transaction, as CREATE DATABASE and ALTER SYSTEM need."""
    with closing(psycopg2.connect(libpq(url))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


_servers: dict[tuple[int, str], psycopg2.extensions.connection] = {}  # of each process, to make databases over


def _administer(server: str, statement: str) -> None:
    """One statement over a connection that stays open: connecting costs the server a third of what a database does."""
    key = (os.getpid(), server)
    if connection := _servers.pop(key, None):
        with suppress(psycopg2.OperationalError, psycopg2.InterfaceError), connection.cursor() as cursor:
            cursor.execute("SELECT 1")  # a server that was started anew has closed it
    if connection is None or connection.closed:
        connection = psycopg2.connect(libpq(server))
        connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    _servers[key] = connection


@contextmanager
def fresh_database(server: str, template: str, owner: str = "DEFAULT") -> Iterator[str]:
    """URL of a copy of the template, dropped afterwards. Copied as files, which takes two thirds of the time."""
    name = f"litgo_test_{uuid.uuid4().hex[:12]}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE {template} OWNER {owner} STRATEGY FILE_COPY")
    try:
        yield normalise(server, database=name)
    finally:
        _administer(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Folder that `make` has filled; of several test processes the first one calls it and the others wait."""
    own = factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    folder.mkdir(exist_ok=True)
    done = folder / "done"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            make(folder)
            done.touch()
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with suppress(psycopg2.Error, DatabaseUnavailable):  # the database may just be starting
            if condition():
                return
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.2)
