"""Supervisor: start Postgres, MLflow and Dagster, keep them running, and stop them cleanly.

Belongs here: processes and the environment they share. What they compute does not.
"""

import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from litgo_pipelines.database import caretaker, normalise, open_connection
from litgo_pipelines.database.embedded import embedded_server, running_server
from litgo_pipelines.database.urls import passfile_lines, without_credentials
from litgo_pipelines.environment import OF_PYTHON, passed_on
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.resources.loopback import without_proxy
from litgo_pipelines.runtime import mlflow_login, private_file, pulse
from litgo_pipelines.settings import Settings, settings

FILES = Path(__file__).resolve().parent  # of Dagster's and MLflow's configuration, installed with the package
HOST = "127.0.0.1"
LOCATION = "litgo_pipelines"
LOCAL_LOGS = """  module: dagster.core.storage.local_compute_log_manager
  class: LocalComputeLogManager
  config:
    base_dir:
      env: LITGO_DAGSTER_FILES
"""  # in dagster.yaml
DEFINITIONS = "litgo_pipelines.definitions"
LONGEST_TEMPORARY = 75  # bytes of TMPDIR: a socket's path has at most 107, with two names below it
STOPS_IN = 8.0  # seconds, of all services
LOOKS_EVERY = 5.0  # seconds, whether a service gives a sign of life
HANGS_AFTER = 6  # looks in a row without one, not a time: a machine that was held up itself has missed one
URLS = ("LITGO_DATABASE_URL", "DAGSTER_DATABASE_URL", "LITGO_MLFLOW_DATABASE_URL")
LOGIN = ("LITGO_UI_USERS", "LITGO_UI_SESSION_KEY")  # for the webserver alone
# What a child gets of the variables, as patterns. The code server, whose forks are the runs, gets all but LOGIN: a step
# may read any setting, key or variable of a library. The others get what they are known to need.
SYSTEM = (
    *(*OF_PYTHON, "USER", "LOGNAME", "SHELL", "COVERAGE_*", "SSL_CERT_*", "REQUESTS_CA_BUNDLE"),
    *("NO_PROXY", "no_proxy", "PG*", "LITGO_HOME"),
)
OF_DAGSTER = (*SYSTEM, "DAGSTER_*", "LITGO_DAGSTER_FILES")
OF_STORAGE = ("AWS_*",)


class StartError(RuntimeError):
    """A service did not come up; the message says where its log is."""


@contextmanager
def platform() -> Iterator[dict[str, str]]:
    """Databases up and migrated; yields the environment variables every process of the project needs."""
    config = settings()
    home = config.home
    try:
        close(home)
        (home / "logs").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StartError(f"LITGO_HOME={home}: {error.strerror}: name a folder that this user may write to") from None
    given = config.litgo_database_url
    with private_file.umask(), nullcontext(normalise(given)) if given else embedded_server(home) as server:
        url = server if given else normalise(server, "litgo")
        _dagster_home(home)
        environment = _environment(config, url)
        for name in URLS:
            _create_database(environment[name], server)
        environment |= _passwords_in_a_file(environment, home)
        if not config.mlflow_tracking_uri:  # the server is ours
            environment |= mlflow_login.prepare(home, environment["LITGO_MLFLOW_DATABASE_URL"])
        for line in migrate(url):
            print(f"migrate: {line}", file=sys.stderr, flush=True)  # stdout is the command's
        yield environment


def as_it_stands() -> dict[str, str] | None:
    """The platform's environment for one who only looks: nothing is started, migrated or written.

    None where the embedded server would be needed and does not run.
    """
    config = settings()
    if config.litgo_database_url:
        return _environment(config, normalise(config.litgo_database_url))
    server = running_server(config.home)
    return None if server is None else _environment(config, normalise(server, "litgo"))


def _environment(config: Settings, url: str) -> dict[str, str]:
    """`url`: of the marketplace's database."""
    return {
        **without_proxy(os.environ),
        "PYTHONIOENCODING": "utf-8:backslashreplace",  # of the children's logs
        "LITGO_HOME": str(config.home),
        "LITGO_DATABASE_URL": url,
        "DAGSTER_DATABASE_URL": normalise(config.dagster_database_url or normalise(url, "litgo_dagster")),
        "LITGO_MLFLOW_DATABASE_URL": normalise(url, "litgo_mlflow"),
        "MLFLOW_TRACKING_URI": config.mlflow_tracking_uri or f"http://{HOST}:{config.mlflow_port}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # nothing here uses its jobs; a process less
        "DAGSTER_HOME": str(config.home / "dagster"),
        "LITGO_DAGSTER_FILES": str(config.home / "dagster"),
    }


def close(home: Path) -> None:
    """LITGO_HOME and what stands in it are this user's alone, whatever the umask was when they were made."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in (home, *(path for path in home.iterdir() if path.is_dir() and not path.is_symlink())):
        if stat.S_IMODE(folder.stat().st_mode) & 0o077 and folder.name != "postgres":  # the server sees to its own
            folder.chmod(0o700)
    for file in home.iterdir():
        if file.is_file() and not file.is_symlink() and stat.S_IMODE(file.stat().st_mode) & 0o077:
            file.chmod(0o600)


def _passwords_in_a_file(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """URLs without their passwords, which libpq finds in PGPASSFILE: no command line that names a URL shows one."""
    found = {name: parted for name in URLS if (parted := passfile_lines(environment[name]))}
    if not found:
        return {}
    before = os.environ.get("PGPASSFILE", "")
    path = home / "pgpass"
    theirs = Path(before).read_text() if before and Path(before) != path and Path(before).is_file() else ""
    lines = dict.fromkeys(lines for _, lines in found.values())
    private_file.write(path, "\n".join([*lines, theirs]))
    os.environ["PGPASSFILE"] = str(path)  # this process connects by the same URLs
    if len(found) == len(URLS):
        os.environ.pop("PGPASSWORD", None)  # it would come before the file's, and be another server's
    return {"PGPASSFILE": str(path), **{name: plain for name, (plain, _) in found.items()}}


def _dagster_home(home: Path) -> None:
    """A folder with the project's `dagster.yaml`: Dagster writes beside it, so it cannot be the checkout."""
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    text = (FILES / "dagster.yaml").read_text(encoding="utf-8")
    if place := settings().litgo_compute_logs:
        text = _with_logs_at(place, text)
    (folder / "dagster.yaml").write_text(text, encoding="utf-8")


def _with_logs_at(place: str, text: str) -> str:
    """dagster.yaml, with what steps print in S3-compatible storage; on the disk it is until a step has ended."""
    try:
        import dagster_aws.s3.compute_log_manager  # noqa: F401
    except ImportError:
        raise StartError("LITGO_COMPUTE_LOGS is set: pip install 'litgo_pipelines[s3]'") from None
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    return text.replace(
        LOCAL_LOGS,
        f"""  module: dagster_aws.s3.compute_log_manager
  class: S3ComputeLogManager
  config:
    bucket: {json.dumps(bucket)}
    prefix: {json.dumps(prefix)}
    upload_interval: 30
    local_dir:
      env: LITGO_DAGSTER_FILES
""",
    )


def _create_database(url: str, server: str) -> None:
    import psycopg2
    from psycopg2 import sql
    from sqlalchemy.engine import make_url

    name = make_url(url).database
    connection = open_connection(server)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if not cursor.fetchone():
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except (psycopg2.errors.DuplicateDatabase, psycopg2.errors.UniqueViolation):
        pass  # another process was faster
    except psycopg2.errors.InsufficientPrivilege as error:
        raise StartError(
            f"the database {name!r} is missing and this user may not create it: create it first"
        ) from error
    except psycopg2.InternalError as error:  # of template1, like a version of its collation; there is no row to be told
        said = getattr(error, "primary", error)
        raise StartError(f"the database {name!r} is missing and cannot be created ({said}): create it first") from error
    finally:
        connection.close()


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """The only supervisor of this LITGO_HOME, whatever its ports. Raises StartError."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "up.pid").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StartError(
                f"litgo up is running for LITGO_HOME={home} already (process {file.read().strip()}): stop it first, or "
                "choose another LITGO_HOME"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def run_child(command: Sequence[str], environment: Mapping[str, str], **options: Any) -> int:
    """Its exit code. When this process is to end, the child is asked to, and waited for, first."""
    with subprocess.Popen(command, env={**os.environ, **environment}, **options) as child:
        caretaker.watch_child(child.pid)
        try:
            return child.wait()
        except BaseException:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(STOPS_IN)
            child.kill()
            raise
        finally:
            caretaker.ended(child.pid)


@dataclass
class Service:
    """One child process in its own session, with its output in a log file."""

    name: str
    command: list[str]
    port: int | None = None
    socket: Path | None = None  # the services after it in a list start once it answers there
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    given: dict[str, str] = field(default_factory=dict)  # variables of this child alone
    withheld: tuple[str, ...] = ()  # variables that are none of its business
    allowed: tuple[str, ...] = ("*",)  # patterns of those it gets, besides what is `given`
    page: str = ""  # at its port, of one that has pages; others beat
    log: Path = field(default_factory=Path)
    again_at: float | None = None  # monotonic seconds: it ended, and is to be started again then
    silent: int | None = None  # looks since its last sign of life; None before the first
    _beat: int | None = None

    def start(self, environment: Mapping[str, str], logs: Path) -> None:
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log, self.silent, self.again_at, self._beat = logs / f"{self.name}.log", None, None, None
        with suppress(OSError):
            self._pulse.unlink(missing_ok=True)  # of the one before
        own = {**os.environ, **environment}
        own = {name: value for name, value in passed_on(*self.allowed, of=own).items() if name not in self.withheld}
        before = self.process
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                env=own | self.given | ({} if self.page else {pulse.VARIABLE: str(self._pulse)}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        caretaker.watch_session(self.process.pid)
        if before is not None:
            caretaker.ended(before.pid)
        self.starts += 1

    def answers(self) -> bool:
        if self.port is None and self.socket is None:
            return True
        with socket.socket(socket.AF_UNIX if self.socket else socket.AF_INET) as probe:
            probe.settimeout(0.5)
            return probe.connect_ex(str(self.socket) if self.socket else (HOST, self.port)) == 0

    @property
    def _pulse(self) -> Path:
        return self.log.with_suffix(".pulse")

    def look(self) -> None:
        """Whether it gives a sign of life: its page is answered, whatever with, or it has beaten since the last look.

        Nothing is held against one that has given none since it was started.
        """
        process = self.process
        if self.page:
            alive = _answered(f"http://{HOST}:{self.port}{self.page}")
        else:
            before, self._beat = self._beat, pulse.read(self._pulse)
            alive = self._beat is not None and self._beat != before
        if process is self.process:  # it was not started again meanwhile
            self.silent = 0 if alive else None if self.silent is None else self.silent + 1

    def stop(self, patience: float = STOPS_IN) -> None:
        stop([self], patience)

    def send(self, number: int) -> bool:
        """The signal goes to its whole session: Dagster's children may ignore their parent's end. False: all gone."""
        if self.process is None:
            return False
        self.process.poll()
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return False
        return True


def stop(services: Sequence[Service], patience: float = STOPS_IN) -> None:
    """Ask all at once, politely, then insist."""
    for number, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        living = [service for service in services if service.send(number)]
        deadline = time.monotonic() + wait
        while living and time.monotonic() < deadline:
            time.sleep(0.1)
            living = [service for service in living if service.send(0)]
    for service in services:
        if service.process is not None:
            caretaker.ended(service.process.pid)


def mlflow_service(environment: Mapping[str, str]) -> Service:
    port = settings().mlflow_port
    command = [
        sys.executable,
        "-m",
        "litgo_pipelines.runtime.mlflow_server",
        "--env-file",
        str(FILES / "mlflow.env"),
        "server",
        "--host",
        HOST,
        "--port",
        str(port),
        "--app-name",
        "basic-auth",
        "--uvicorn-opts",
        "--no-access-log",  # a line for each look of ours
        "--artifacts-destination",
        settings().mlflow_artifacts or str(Path(environment["LITGO_HOME"]) / "mlflow-artifacts"),
    ]
    return Service(
        "mlflow",
        command,
        port,
        given={
            "MLFLOW_BACKEND_STORE_URI": environment["LITGO_MLFLOW_DATABASE_URL"],
            **mlflow_login.of_server(Path(environment["LITGO_HOME"])),
        },
        page="/health",
        allowed=(*SYSTEM, "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_SERVER_*", "MLFLOW_S3_*", *OF_STORAGE),
    )


@contextmanager
def code_server(environment: Mapping[str, str], module: str = DEFINITIONS) -> Iterator[tuple[Service, Path]]:
    """The service that holds the definitions and starts the runs, and the workspace file that names its socket.

    The socket is in a folder only this user may enter: whoever reaches it may run code. Where TMPDIR is too long for a
    socket's path, that folder is below /tmp, and of the server and its runs the one for what is temporary.
    """
    short = len(os.fsencode(tempfile.gettempdir())) <= LONGEST_TEMPORARY
    with tempfile.TemporaryDirectory(prefix="litgo-code-", dir=None if short else "/tmp") as folder:
        path = Path(folder) / "socket"
        workspace = Path(environment["DAGSTER_HOME"]) / "workspace.yaml"
        workspace.write_text(
            f"load_from:\n  - grpc_server:\n      socket: {json.dumps(str(path))}\n      location_name: {LOCATION}\n"
        )
        command = [sys.executable, "-m", "litgo_pipelines.runtime.code_server", "--socket", str(path)]
        command += ["--module-name", module, "--location-name", LOCATION]
        given = {} if short else {"TMPDIR": folder}
        yield Service("code-server", command, socket=path, withheld=LOGIN, given=given), workspace


def dagster_services(file: Path) -> list[Service]:
    """Dagster's webserver and daemon on a workspace file."""
    workspace = ["-w", str(file)]
    port = settings().dagster_port
    logs = OF_STORAGE if settings().litgo_compute_logs else ()
    return [
        Service(
            "dagster-webserver",
            [sys.executable, "-m", "litgo_pipelines.runtime.webserver", "-h", HOST, "-p", str(port), *workspace],
            port,
            page="/server_info",
            allowed=(*OF_DAGSTER, *logs, "LITGO_UI_*", "LITGO_DATABASE_URL", "LITGO_PUBLIC_NUMBERS"),
        ),
        Service(
            "dagster-daemon",
            [sys.executable, "-m", "litgo_pipelines.runtime.daemon", "run", *workspace],
            allowed=(*OF_DAGSTER, *logs),
        ),
    ]


def exporter_service() -> Service:
    return Service(
        "exporter",
        [sys.executable, "-m", "litgo_pipelines.cli", "exporter"],
        settings().exporter_port,
        page="/healthz",
        allowed=(
            *OF_DAGSTER,
            *(OF_STORAGE if settings().litgo_compute_logs else ()),
            "EXPORTER_*",
            "LITGO_DATABASE_URL",
        ),
    )


@contextmanager
def running(services: list[Service], environment: Mapping[str, str], timeout: float = 600) -> Iterator[None]:
    """The services started and answering; stopped at the end, in reverse order. Raises StartError."""
    home = Path(environment["LITGO_HOME"])
    logs, deadline = home / "logs", time.monotonic() + timeout
    by_port: dict[int, str] = {}
    for service in services:
        if service.port and (other := by_port.setdefault(service.port, service.name)) != service.name:
            raise StartError(f"{other} and {service.name} have the same port, {service.port}: give each its own")
    caretaker.alone(home / "caretaker.lock")
    try:
        for service in services:
            if service.port and service.answers():
                variable = f"{service.name.split('-')[0].upper()}_PORT"
                raise StartError(f"port {service.port} is taken: stop what uses it, or choose another ({variable}=…)")
            service.start(environment, logs)
            if service.socket:
                _wait(service, deadline)
        for service in services:
            _wait(service, deadline)
        yield
    finally:
        stop(services)


def _wait(service: Service, deadline: float) -> None:
    while not service.answers():
        if service.process is None or service.process.poll() is not None or time.monotonic() > deadline:
            raise StartError(f"{service.name} did not come up: see {service.log}")
        time.sleep(0.2)


def initialise_dagster(environment: Mapping[str, str]) -> None:
    """Create Dagster's tables once, before several processes would."""
    command = [sys.executable, "-m", "dagster", "instance", "migrate"]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        raise StartError(f"Dagster's storage could not be prepared:\n{without_credentials(done.stderr[-2000:])}")


def watch(services: list[Service], environment: Mapping[str, str]) -> None:
    """Until interrupted, start again whatever ends, or hangs: a daemon that exits with code 0 is as gone as one that
    crashed, and one that gives no sign of life is ended first. None waits for another."""
    logs = Path(environment["LITGO_HOME"]) / "logs"
    since = {service.name: time.monotonic() for service in services}
    for service in services:
        threading.Thread(target=_listen, args=(service, services), daemon=True, name=f"pulse-{service.name}").start()
    while True:
        time.sleep(1)
        for service in services:
            now = time.monotonic()
            if service.process is None:
                continue
            if service.again_at is not None:
                if now >= service.again_at:
                    service.start(environment, logs)
                    since[service.name] = time.monotonic()
            elif service.process.poll() is not None:
                pause = min(2.0**service.starts, 30.0)
                if now - since[service.name] > 600:
                    service.starts, pause = 0, 1.0
                code = service.process.returncode
                _say(f"{service.name} ended with code {code}; starting again in {pause:.0f} s")
                service.stop(patience=2)
                service.again_at = time.monotonic() + pause
            elif (service.silent or 0) >= HANGS_AFTER:
                _say(f"{service.name} has given no sign of life for {HANGS_AFTER * LOOKS_EVERY:.0f} s and is ended")
                service.silent = None
                service.send(signal.SIGKILL)


def _listen(service: Service, watched: list[Service]) -> None:
    """Looks at one service, as long as it is watched."""
    while service in watched:
        began = time.monotonic()
        service.look()
        time.sleep(max(0.0, LOOKS_EVERY - (time.monotonic() - began)))


def _say(line: str) -> None:
    with suppress(OSError):  # the terminal may be gone, or the disk full on which the output is kept
        print(line, flush=True)


def _answered(url: str) -> bool:
    """Whether somebody answers at all. Proxies are not asked."""
    try:
        build_opener(ProxyHandler({})).open(url, timeout=LOOKS_EVERY).close()
    except (HTTPError, HTTPException):
        return True
    except OSError:
        return False
    return True
