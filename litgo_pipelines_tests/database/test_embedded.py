"""The embedded server: owned by one, shared by others, kept running, stopped at the end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
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


def user(home: Path) -> subprocess.Popen[str]:
    """Another process that uses the server of `home` until it is ended or its input is."""
    code = (
        "import sys; from pathlib import Path\n"
        "from litgo_pipelines.database.embedded import embedded_server\n"
        "with embedded_server(Path(sys.argv[1])) as url:\n    print(url, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(home)]
    process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


@pytest.mark.slow
def test_whoever_came_first_may_leave_and_the_last_one_out_stops_it(tmp_path: Path) -> None:
    first = user(tmp_path)
    with embedded_server(tmp_path) as url:
        first.terminate()  # as a service manager would; it only leaves
        assert first.wait(30) == 128 + signal.SIGTERM
        assert one(url, "SELECT 1") == 1
        os.kill(postmaster(tmp_path), signal.SIGKILL)
        deadline = time.monotonic() + 30
        while True:
            try:
                assert one(url, "SELECT 2") == 2
                break
            except Exception:
                assert time.monotonic() < deadline, "nobody took over"
                time.sleep(0.3)
        second = user(tmp_path)
        last = postmaster(tmp_path)
    assert running(last), "the second one still uses it"
    caretaker = next(one for one in psutil.Process(second.pid).children() if "caretaker.py" in " ".join(one.cmdline()))
    caretaker.kill()  # as when everything of a user is killed
    second.kill()
    second.wait()
    assert running(last)
    third = user(tmp_path)
    assert postmaster(tmp_path) == last, "adopted"
    third.communicate("")
    assert not running(last)


@pytest.mark.slow
def test_kept_running_shared_and_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "s3cr3t")
    for name in ("LANG", "LC_ALL", "LC_CTYPE"):
        monkeypatch.setenv(name, "pt_PT.ISO-8859-15")  # of a terminal elsewhere, and not installed here
    with embedded_server(tmp_path) as url:
        assert one(url, "SELECT datcollate FROM pg_database WHERE datname = 'template1'") in ("C.UTF-8", "C")
        assert b"s3cr3t" not in Path(f"/proc/{postmaster(tmp_path)}/environ").read_bytes()
        assert os.environ["OPENAI_API_KEY"] == "s3cr3t"
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
        assert b"s3cr3t" not in Path(f"/proc/{last}/environ").read_bytes()
    assert not running(last)
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(libpq(url))
    with embedded_server(tmp_path) as url:
        assert one(url, "SELECT answer FROM public.kept") == 42
