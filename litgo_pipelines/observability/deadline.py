"""Deadline on waiting for a Postgres server that fell silent: neither a statement timeout nor TCP tells the client."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


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
