"""A replica as the database: said in one sentence, nothing is given up, and after its promotion it serves."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest

from litgo_pipelines.database import connect, libpq, open_connection
from litgo_pipelines.marketplace import doctor
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.observability import gauges
from litgo_pipelines_tests.support import execute, free_port
from litgo_pipelines_tests.worlds.dirt import fill
from litgo_pipelines_tests.worlds.machine import postgres_binaries
from litgo_pipelines_tests.worlds.matching import match
from litgo_pipelines_tests.worlds.strange_tables import day

pytestmark = [
    pytest.mark.slow,
    pytest.mark.one_server,
    pytest.mark.timeout(300),
    pytest.mark.proof("litgo_pipelines/database", "litgo_pipelines/marketplace", "litgo_pipelines_tests/worlds"),
]

USER = "nobody" if os.geteuid() == 0 else None  # as root Postgres refuses to run


def command(folder: Path, name: str, *arguments: str) -> None:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    line = [str(postgres_binaries() / name), *arguments]
    subprocess.run(line, check=True, env=environment, cwd=folder, user=USER, stdout=subprocess.DEVNULL)


@contextmanager
def serving(folder: Path, name: str) -> Iterator[str]:
    """A server on a data directory; the URL of its database."""
    port = free_port()
    options = f"-k {folder} -h 127.0.0.1 -p {port} -c fsync=off -c shared_buffers=16MB"
    command(folder, "pg_ctl", "-D", name, "-l", f"{name}.log", "-o", options, "-w", "start")
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        command(folder, "pg_ctl", "-D", name, "-m", "immediate", "stop")


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="litgo-standby-"))
    if USER:
        shutil.chown(made, USER)
    yield made
    shutil.rmtree(made)


def said(url: str) -> list[str]:
    """What each kind of work on the database raises."""
    found = []
    for work in (migrate, day, match, lambda url: execute(url, "CREATE DATABASE x")):
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction) as caught:
            work(url)
        found.append(str(caught.value))
    return found


def test_a_standby_is_named_and_serves_once_it_is_promoted(folder: Path) -> None:
    command(folder, "initdb", "-D", "one", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
    with serving(folder, "one") as primary:
        migrate(primary)
        fill(primary)
        execute(primary, "UPDATE litgo.source_mapping SET rendering_sha256 = 'of another version'")
        command(folder, "pg_basebackup", "-d", libpq(primary), "-D", "two", "-R", "-X", "stream", "--no-sync")
        with serving(folder, "two") as standby, closing(open_connection(standby)) as before:
            told = said(standby)
            assert all("use the primary" in one for one in told[:3]), told
            assert any("use the primary" in one for one in doctor.examine(standby).failures)
            with connect(standby) as connection, connection.cursor() as cursor:
                assert gauges.read(cursor, ["database_read_only"]) == {"database_read_only": [((), 1.0)]}
            command(folder, "pg_ctl", "-D", "two", "-w", "promote")
            with before, before.cursor() as cursor:
                cursor.execute("UPDATE public.cases SET area = area")
            migrate(standby)
            assert doctor.examine(standby).failures == []
            assert day(standby) == [12, 3]
            with connect(standby) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM litgo.matching_failures")
                assert cursor.fetchone() == (0,)
