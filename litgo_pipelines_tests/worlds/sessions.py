"""Connections that stay open from one matching of a test to the next.

A new one has to learn the catalogue first, views and functions included, which takes longer than most statements.
What makes temporary tables or views that stay, as a snapshot does, opens its own.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from litgo_pipelines.database import Connection, open_connection

MOST = 3  # databases that a test compares
_kept = threading.local()


@contextmanager
def kept(url: str) -> Iterator[Connection]:
    """This thread's connection to the database, in no transaction; closed after an exception."""
    connections: dict[str, Connection] = _kept.__dict__.setdefault("connections", {})
    connection = connections.pop(url, None)
    if connection is None or connection.closed:
        connection = open_connection(url)
    try:
        yield connection
        connection.rollback()
    except BaseException:
        connection.close()
        raise
    connections[url] = connection  # the newest last
    while len(connections) > MOST:
        connections.pop(next(iter(connections))).close()


def close(url: str) -> None:
    """For what asks to be alone in the database."""
    if connection := _kept.__dict__.get("connections", {}).pop(url, None):
        connection.close()


def ask(url: str, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """The answer's rows, none for what has no answer; committed."""
    with kept(url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall() if cursor.description else []
