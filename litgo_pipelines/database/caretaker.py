"""Ends what this process started once it is gone, however it ended: nothing stays that nobody looks after.

A small process of its own, begun with the first thing that is to be ended, reads a pipe whose only writing end is held
here: the system closes it with this process, also after SIGKILL. The file is its program too, without site packages.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

PATIENCE = 10.0  # seconds until what was asked to end is made to
LINGERS = 2.0  # seconds until a process that ends has closed its files, and more
SESSION, CHILD, SERVER, LOCK = "session", "child", "server", "lock"

_lock = threading.Lock()
_told: dict[int, subprocess.Popen[bytes]] = {}  # by process: what was forked from this one has a caretaker of its own


def watch_session(pid: int) -> None:
    """All processes of the session of this leader."""
    _tell("+", SESSION, pid)


def watch_child(pid: int) -> None:
    """One process."""
    _tell("+", CHILD, pid)


def watch_server(data: Path, users: Path) -> None:
    """An embedded Postgres by its folder, and the file its users lock: one that somebody else uses goes on."""
    _tell("+", SERVER, str(data), str(users))


def alone(lock: Path) -> None:
    """Wait for the caretaker of a process that was killed to have ended what that one had started with this lock."""
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
    _tell("+", LOCK, str(lock))


def ended(pid: int) -> None:
    """A process was seen to end."""
    for kind in (SESSION, CHILD):
        _tell("-", kind, pid)


def left(data: Path, users: Path) -> None:
    """This process uses the server no more."""
    _tell("-", SERVER, str(data), str(users))


def _tell(sign: str, kind: str, *what: int | str) -> None:
    with _lock:
        if os.getpid() not in _told:
            if sign == "-":
                return
            _told[os.getpid()] = _begin()
        pipe = _told[os.getpid()].stdin
        assert pipe is not None
        try:
            pipe.write(f"{json.dumps([sign, kind, *what])}\n".encode())
        except OSError:  # somebody ended it: with the next thing there is another
            del _told[os.getpid()]


def _begin() -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__],
        bufsize=0,  # a line is one write, and a fork between two finds nothing half written
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        env={},
    )
    assert child.stdin is not None
    os.register_at_fork(after_in_child=child.stdin.close)
    return child


def _began(pid: int) -> str | None:
    """When a process began, in clock ticks: another one with its number is another. None: it is gone."""
    try:
        state, *others = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else others[18]


def serves(pid: int, data: Path) -> bool:
    """Whether this process is the Postgres of the folder, where it works; the number of a dead one may be anybody's."""
    process = Path("/proc", str(pid))
    try:
        return process.stat().st_uid == data.stat().st_uid and (process / "cwd").samefile(data)
    except PermissionError:
        return True
    except OSError:
        return not Path("/proc/self").exists()  # nothing is known there


def _send(kind: str, pid: int, number: int) -> bool:
    """False: nobody is left."""
    try:
        (os.killpg if kind == SESSION else os.kill)(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return kind == SESSION or _began(pid) is not None


def _end_processes(watched: dict[tuple[str, int], str | None]) -> None:
    living = [each for each, start in watched.items() if _began(each[1]) in (None, start)]
    for number, patience in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, 2.0)):
        living = [each for each in living if _send(*each, number)]
        deadline = time.monotonic() + patience
        while living and time.monotonic() < deadline:
            time.sleep(0.1)
            living = [each for each in living if _send(*each, 0)]


def _end_server(data: Path, users: Path) -> None:
    """Stop it in order unless it has users; who comes meanwhile waits for the lock."""
    try:
        with users.open("a") as file:
            if not _locked(file):
                return
            pid = int((data / "postmaster.pid").read_text().split()[0])
            if not serves(pid, data):
                return
            for number in (signal.SIGINT, signal.SIGQUIT):  # its fast shutdown; its immediate one
                os.kill(pid, number)
                deadline = time.monotonic() + PATIENCE
                while _began(pid) is not None and time.monotonic() < deadline:
                    time.sleep(0.05)
    except (OSError, ValueError, IndexError):  # it is gone
        return


def _locked(file: IO[str]) -> bool:
    """Whether nobody uses it. The owner's own lock goes a moment after its end of the pipe."""
    deadline = time.monotonic() + LINGERS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    processes: dict[tuple[str, int], str | None] = {}
    servers: dict[tuple[str, ...], None] = {}
    locks: list[int] = []
    for line in sys.stdin:
        sign, kind, *what = _read(line)
        if kind == SERVER:
            servers.pop(tuple(what), None)
            if sign == "+":
                servers[tuple(what)] = None
        elif kind == LOCK:
            locks.append(os.open(what[0], os.O_RDWR | os.O_CREAT, 0o600))
        elif kind:
            processes.pop((kind, what[0]), None)
            if sign == "+":
                processes[kind, what[0]] = _began(what[0])
    for lock in locks if processes else ():
        fcntl.flock(lock, fcntl.LOCK_EX)
    _end_processes(processes)
    for data, users in servers:
        _end_server(Path(data), Path(users))


def _read(line: str) -> list[Any]:
    try:
        found: list[Any] = json.loads(line)
    except ValueError:  # the owner was killed while it wrote
        return ["", ""]
    return found


if __name__ == "__main__":
    main()
