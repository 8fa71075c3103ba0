"""The embedded server: owned by one, shared by others, kept running, stopped at the end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg2
import pytest

from litgo_pipelines.database import connect, libpq
from litgo_pipelines.database.embedded import embedded_server


def one(url: str, query: str) -> object:
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def postmaster(home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_kept_running_shared_and_stopped(tmp_path: Path) -> None:
    with embedded_server(tmp_path) as url:
        assert one(url, "SELECT 1") == 1
        code = (
            "import sys; from pathlib import Path\n"
            "from litgo_pipelines.database.embedded import embedded_server\n"
            "with embedded_server(Path(sys.argv[1])) as url: print(url)"
        )
        other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
        assert other.stdout.strip() == url
        assert one(url, "SELECT 2") == 2, "who only used the server must not stop it"

        with connect(url) as connection:
            connection.cursor().execute("CREATE TABLE public.kept AS SELECT 42 AS answer")
        killed = postmaster(tmp_path)
        os.kill(killed, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while True:
            try:
                assert one(url, "SELECT answer FROM public.kept") == 42
                break
            except Exception:
                assert time.monotonic() < deadline, "nobody started the server again"
                time.sleep(0.3)
        last = postmaster(tmp_path)
        assert last != killed
    assert not running(last)
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(libpq(url))
    with embedded_server(tmp_path) as url:
        assert one(url, "SELECT answer FROM public.kept") == 42
