"""Watch over calls that wait for the server, so that a peer that answers no more is given up within a minute.

TCP notices a machine that is gone, not a proxy or a server that still acknowledges and does nothing. A long statement
looks the same from here, so a second connection asks what the first one's backend does: one that works or waits for a
lock is left alone until its limit; one that is idle, stopped or out of reach will never send the answer.
"""

import array
import fcntl
import ipaddress
import os
import socket
import struct
import termios
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg2
from psycopg2.extensions import connection as _Connection

from litgo_pipelines.database.connecting import SEVERITY
from litgo_pipelines.database.session import wait

LOOK_AFTER = 15.0  # seconds that a call may wait before anybody asks
LOOK_EVERY = 5.0
ASK_SECONDS = 8.0  # for connecting and the answer
MISSES = 2  # looks in a row without a sign of life
GRACE = 10.0  # seconds beyond a statement's limit, which the server keeps as long as it runs
TICK = 0.5
DOING = "SELECT pid, state, wait_event_type FROM pg_catalog.pg_stat_activity WHERE pid = ANY (%s)"
_TCP_INFO = struct.Struct("=8B12I")
_LAST_SENT, _LAST_RECEIVED = 8 + 9, 8 + 11  # fields of it: milliseconds since then


@dataclass(frozen=True)
class Peer:
    """Who is watched. `backend`: None while it is unknown; `longest`: seconds a call may take, None without a limit."""

    dsn: str
    backend: int | None
    longest: float | None


@dataclass(eq=False)
class Call:
    """One call under way on one connection."""

    connection: _Connection
    peer: Peer
    since: float = field(default_factory=time.monotonic)
    next_look: float = field(default_factory=lambda: time.monotonic() + LOOK_AFTER)
    resting: bool = False
    misses: int = 0
    given_up: str = ""

    def give_up(self, why: str) -> None:
        self.given_up = (
            f"the database fell silent ({why}): the connection is given up, and whether the transaction under way was "
            "committed is not known. Look at the server, and at what stands in front of it; then run it again"
        )
        shut(self.connection)


_calls: set[Call] = set()
_starting = threading.Lock()
_watcher: threading.Thread | None = None


def shut(connection: _Connection) -> None:
    """Shut a connection's socket, a closed one's too: who waits on it has an OperationalError."""
    with suppress(AttributeError, psycopg2.InterfaceError, OSError), _socket(connection) as ours:
        ours.shutdown(socket.SHUT_RDWR)


@contextmanager
def call(connection: _Connection | None) -> Iterator[Call | None]:
    """What is inside waits for the server."""
    peer = peer_of(connection)
    if connection is None or peer is None:
        yield None
        return
    if _watcher is None:
        _start()
    _calls.add(mine := Call(connection, peer))
    try:
        yield mine
    finally:
        _calls.discard(mine)


@contextmanager
def resting(connection: _Connection) -> Iterator[None]:
    """Inside, a call under way waits for its own reader: nothing is to be heard from the server."""
    mine = [one for one in list(_calls) if one.connection is connection]
    for one in mine:
        one.resting = True
    try:
        yield
    finally:
        for one in mine:
            one.next_look, one.misses, one.resting = time.monotonic() + LOOK_AFTER, 0, False


def peer_of(connection: _Connection | None) -> Peer | None:
    found: Peer | None = getattr(connection, "peer", None)
    return found


def without_limit(connection: _Connection) -> None:
    """For statements that the server does not limit either."""
    if (peer := peer_of(connection)) is not None:
        connection.peer = replace(peer, longest=None)


def cancel(connection: _Connection) -> None:
    """Cancel what the connection's backend does, over a second connection; libpq's own cancel may wait forever."""
    peer = peer_of(connection)
    with suppress(psycopg2.Error, TimeoutError):
        if peer is not None and peer.backend is not None:
            _ask(peer.dsn, "SELECT pg_catalog.pg_cancel_backend(%s)", peer.backend)
            return
    shut(connection)


def _start() -> None:
    global _watcher
    with _starting:
        if _watcher is None or not _watcher.is_alive():
            _watcher = threading.Thread(target=_forever, name="database-watch", daemon=True)
            _watcher.start()


def _after_fork() -> None:
    global _watcher, _starting
    _starting, _watcher = threading.Lock(), None  # threads do not survive a fork
    _calls.clear()


os.register_at_fork(after_in_child=_after_fork)


def _forever() -> None:
    while True:
        time.sleep(TICK)
        if _calls:
            with suppress(RuntimeError):  # the calls changed under the look
                look(list(_calls))


def look(calls: Iterable[Call]) -> None:
    """Give up those that are beyond their limit, and those whose peers gave no sign of life in the last looks."""
    due: defaultdict[str, list[Call]] = defaultdict(list)
    for one in calls:
        now = time.monotonic()
        if one.given_up:
            shut(one.connection)  # again: a copy of the socket may not have been there yet
        elif one.peer.longest is not None and now > one.since + one.peer.longest and not one.resting:
            one.give_up(f"no answer in {now - one.since:.0f} s")
        elif now >= one.next_look and not one.resting and one.peer.backend is not None:
            due[one.peer.dsn].append(one)
    for dsn, some in due.items():
        doing, silence = _doing(dsn, [one.peer.backend or 0 for one in some])
        for one in some:
            one.next_look = time.monotonic() + LOOK_EVERY
            if one.resting or one not in _calls:
                continue
            why = silence if doing is None else _wrong(one, doing)
            one.misses = one.misses + 1 if why else 0
            if why and one.misses >= MISSES:
                one.give_up(why)


def _wrong(one: Call, doing: Mapping[int, tuple[str | None, str | None]]) -> str:
    """Why no answer will come; empty while one may."""
    backend = one.peer.backend
    if backend is None or backend not in doing:
        return "its process on the server is gone"
    state, waits_for = doing[backend]
    if state is None:  # not ours to see
        return ""
    if (state.startswith("idle") or waits_for == "Client") and _quiet(one.connection):
        return f"its process on the server is {state if state != 'active' else 'waiting for us'}, and nothing arrives"
    if _stopped(one.connection, backend):
        return "its process on the server is stopped"
    return ""


def _doing(dsn: str, backends: list[int]) -> tuple[Mapping[int, tuple[str | None, str | None]] | None, str]:
    """(backend → its state and what it waits for, ""), or (None, why that is not known; empty when somebody spoke)."""
    try:
        return {pid: (state, event) for pid, state, event in _ask(dsn, DOING, backends)}, ""
    except psycopg2.Error as error:
        spoke = error.pgcode is not None or SEVERITY in str(error)  # full, or starting: somebody is there
        return None, "" if spoke else "no second connection can be had"
    except (TimeoutError, OSError, ValueError):
        return None, f"a second connection had no answer in {ASK_SECONDS:g} s"


def _ask(dsn: str, query: str, parameter: object) -> list[tuple[int, str | None, str | None]]:
    """Rows over a connection of its own. Raises psycopg2.Error, TimeoutError."""
    until = time.monotonic() + ASK_SECONDS
    with closing(psycopg2.connect(dsn, application_name="litgo-watch", async_=True)) as other:
        wait(other, until)
        with other.cursor() as cursor:
            cursor.execute(query, (parameter,))
            wait(other, until)
            return cursor.fetchall()


def _quiet(connection: _Connection) -> bool:
    """Nothing that came is unread, and over TCP nothing went either way for LOOK_EVERY seconds."""
    with suppress(psycopg2.InterfaceError, OSError, struct.error), _socket(connection) as ours:
        unread = array.array("i", [0])
        fcntl.ioctl(ours, termios.FIONREAD, unread)
        if unread[0]:
            return False
        if ours.family == socket.AF_UNIX or not hasattr(socket, "TCP_INFO"):
            return True
        figures = _TCP_INFO.unpack(ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
        return min(figures[_LAST_SENT], figures[_LAST_RECEIVED]) > LOOK_EVERY * 1000
    return False


def _stopped(connection: _Connection, backend: int) -> bool:
    """A server of this machine whose process was stopped; what it does elsewhere is not to be seen."""
    with suppress(psycopg2.InterfaceError, OSError, ValueError, IndexError):
        with _socket(connection) as ours:
            peer = ours.getpeername()
            if ours.family != socket.AF_UNIX and not ipaddress.ip_address(peer[0]).is_loopback:
                return False
        name, _, rest = Path(f"/proc/{backend}/stat").read_text(encoding="utf-8").rpartition(")")
        return "postgres" in name and rest.split()[0] in ("T", "t")
    return False


@contextmanager
def _socket(connection: _Connection) -> Iterator[socket.socket]:
    """The connection's socket, as a copy."""
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        yield ours
