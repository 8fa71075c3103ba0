"""Small helpers of many tests. What holds rows or answers requests is in `worlds/`."""

import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import psycopg2

from litgo_pipelines.database import DatabaseUnavailable, libpq, normalise


def execute(url: str, *statements: str) -> None:
    """Run statements outside a transaction, as CREATE DATABASE and ALTER SYSTEM need."""
    with closing(psycopg2.connect(libpq(url))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


@contextmanager
def fresh_database(server: str, template: str) -> Iterator[str]:
    """URL of a copy of the template, dropped afterwards. Copied as files, which takes two thirds of the time."""
    name = f"litgo_test_{uuid.uuid4().hex[:12]}"
    execute(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    try:
        yield normalise(server, database=name)
    finally:
        execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


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
