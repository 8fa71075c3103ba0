"""Small helpers of many tests. What holds rows or answers requests is in `worlds/`."""

import socket
import time
from collections.abc import Callable
from contextlib import closing, suppress

import psycopg2

from litgo_pipelines.database import DatabaseUnavailable, libpq


def execute(url: str, *statements: str) -> None:
    """Run statements outside a transaction, as CREATE DATABASE and ALTER SYSTEM need."""
    with closing(psycopg2.connect(libpq(url))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


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
