"""Deadline on waiting for a Postgres server that fell silent: neither a statement timeout nor TCP tells the client."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from psycopg2 import InterfaceError

from litgo_pipelines.database import Connection


@contextmanager
def after(seconds: float, end: Callable[[], None]) -> Iterator[None]:
    """Calls `end` from another thread if what is inside takes longer."""
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def shut(connection: Connection) -> None:
    """Shuts the socket of a psycopg2 connection, None or closed ones too: who waits on it has an OperationalError."""
    with suppress(AttributeError, InterfaceError, OSError), socket.socket(fileno=os.dup(connection.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)
