"""A Postgres server of a test's own, which it may start, stop and change the files of."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from litgo_pipelines_tests.support import free_port
from litgo_pipelines_tests.worlds.machine import postgres_binaries

USER = "nobody" if os.geteuid() == 0 else None  # as root Postgres refuses to run
PROOF = [  # of a test on such a server
    pytest.mark.slow,
    pytest.mark.one_server,
    pytest.mark.timeout(300),
    pytest.mark.proof("litgo_pipelines/database", "litgo_pipelines/marketplace", "litgo_pipelines_tests/worlds"),
]
INITDB = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")


def command(folder: Path, name: str, *arguments: str) -> None:
    """One of Postgres' programs, in the folder."""
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    line = [str(postgres_binaries() / name), *arguments]
    subprocess.run(line, check=True, env=environment, cwd=folder, user=USER, stdout=subprocess.DEVNULL)


@contextmanager
def serving(folder: Path, name: str, *settings: str, stop: str = "immediate") -> Iterator[str]:
    """A server on a data directory; the URL of its database."""
    port = free_port()
    given = " ".join(f"-c {setting}" for setting in ("fsync=off", "shared_buffers=16MB", *settings))
    options = f"-k {folder} -h 127.0.0.1 -p {port} {given}"
    command(folder, "pg_ctl", "-D", name, "-l", f"{name}.log", "-o", options, "-w", "start")
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        command(folder, "pg_ctl", "-D", name, "-m", stop, "stop")


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="litgo-server-"))
    if USER:
        shutil.chown(made, USER)
    yield made
    shutil.rmtree(made)
