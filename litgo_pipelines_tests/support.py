"""Small helpers of many tests. What holds rows or answers requests is in `worlds/`."""

import socket
from contextlib import closing

import psycopg2

from litgo_pipelines.database import libpq


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
