"""Starting and stopping: one supervisor per home, and nothing left running by a command that is ended."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from litgo_pipelines.runtime import supervisor
from litgo_pipelines_tests.support import until


def test_a_second_supervisor_of_a_home_is_refused_in_words(tmp_path: Path) -> None:
    with (
        supervisor.alone(tmp_path),
        pytest.raises(supervisor.StartError, match=rf"process {os.getpid()}\): stop it first"),
        supervisor.alone(tmp_path),
    ):
        pass
    with supervisor.alone(tmp_path):
        pass


def test_services_are_stopped_at_once_and_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    deaf = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(1, flush=True)\ntime.sleep(90)"
    slow = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit(0)))\n"
    slow += "print('slow', flush=True)\ntime.sleep(90)"
    services = [supervisor.Service(f"service{n}", [sys.executable, "-c", slow]) for n in range(4)]
    services.append(supervisor.Service("deaf", [sys.executable, "-c", deaf]))
    for service in services:
        service.start({}, tmp_path)
    until(lambda: all(service.log.read_text() for service in services), 60, "the services")
    began = time.monotonic()
    supervisor.stop(services, patience=3)
    assert time.monotonic() - began >= 3, "the deaf one is waited for"
    codes = [service.process.wait(1) for service in services if service.process]
    assert codes == [0, 0, 0, 0, -signal.SIGKILL]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_ended_leaves_nothing_running(tmp_path: Path, number: int) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
    environment["LITGO_HOME"] = str(tmp_path / "home")
    command = [sys.executable, "-m", "litgo_pipelines.cli", "exec", "--", "sleep", "300"]
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:

        def family() -> list[psutil.Process]:
            return psutil.Process(process.pid).children(recursive=True)

        def works() -> bool:
            with suppress(psutil.NoSuchProcess):  # what it asks before is over within milliseconds
                return any(child.name() == "sleep" for child in family())
            return False

        until(works, 90, "the command")
        pid = tmp_path / "home" / "postgres" / "postmaster.pid"
        left = [*family(), psutil.Process(int(pid.read_text().split()[0]))]
        os.kill(process.pid, number)
        process.wait(60)
    _, alive = psutil.wait_procs(left, timeout=30)
    assert not [other for other in alive if other.status() != psutil.STATUS_ZOMBIE]
    assert not pid.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_is_asked_to_end_cleans_up_first(tmp_path: Path, number: int) -> None:
    """A terminal that is closed is told by the system and by the shell."""
    code = (
        "import sys, time; from pathlib import Path; from litgo_pipelines.database.embedded import unwound_at_sigterm\n"
        "with unwound_at_sigterm():\n"
        "    try:\n        print('works', flush=True); time.sleep(60)\n"
        "    finally:\n        print('ends', flush=True); time.sleep(0.5); Path(sys.argv[1]).touch()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "clean")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "works\n"
        process.send_signal(number)
        assert process.stdout.readline() == "ends\n"
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) - 128 in {number, signal.SIGHUP}  # of two, whichever was handled first
    assert (tmp_path / "clean").exists()


def test_services_are_started_again_where_nobody_can_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = supervisor.Service("short", ["true"])
    service.start({}, tmp_path)

    class Over(Exception):
        pass

    def sleep(seconds: float) -> None:
        assert service.process is not None
        service.process.wait()
        if service.starts > 1:
            raise Over

    def gone(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("builtins.print", gone)
    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(Over):
        supervisor.watch([service], {"LITGO_HOME": str(tmp_path)})


def test_two_services_of_one_port_are_named(tmp_path: Path) -> None:
    services = [supervisor.Service(name, ["sleep", "300"], port=1) for name in ("mlflow", "dagster-webserver")]
    with (
        pytest.raises(supervisor.StartError, match="mlflow and dagster-webserver have the same port, 1"),
        supervisor.running(services, {"LITGO_HOME": str(tmp_path)}),
    ):
        pass


@pytest.mark.parametrize("length", [60, 75, 76, 200])
def test_the_warm_process_listens_however_long_tmpdir_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    long = folder / ("d" * (length - len(str(folder)) - 1))
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with supervisor.code_server({"DAGSTER_HOME": str(tmp_path)}) as (service, _):
        listens = "from multiprocessing import forkserver; forkserver.ensure_running(); print('as expected')"
        own = {**os.environ, "TMPDIR": str(long), **service.given}
        done = subprocess.run([sys.executable, "-c", listens], env=own, capture_output=True, text=True, check=False)
        assert done.stdout == "as expected\n", done.stderr
        assert len(str(service.socket)) <= 107
    long.rmdir()
    folder.rmdir()


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(503)

    def log_message(self, format: str, *args: object) -> None:
        """Not on stderr."""


def test_a_service_that_hangs_is_ended_and_started_again_and_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "LOOKS_EVERY", 0.3)
    script = "import time; from litgo_pipelines.runtime import pulse; pulse.EVERY = .1; pulse.begin(); time.sleep(600)"
    beating = supervisor.Service("beating", [sys.executable, "-c", script])
    crashing = supervisor.Service("crashing", ["false"], starts=10)  # begins again in 30 s
    mute = supervisor.Service("mute", ["sleep", "600"])  # as one whose start takes long
    with ThreadingHTTPServer((supervisor.HOST, 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        paged = supervisor.Service("paged", ["sleep", "600"], port=server.server_port, page="/health")
        services = [crashing, beating, mute, paged]
        for service in services:
            service.start(os.environ, tmp_path)
        watched = list(services)
        home = {"LITGO_HOME": str(tmp_path)}
        threading.Thread(target=supervisor.watch, args=(watched, home), daemon=True, name="watch").start()
        try:
            until(lambda: (beating.silent, paged.silent) == (0, 0), 30, "signs of life")
            assert mute.silent is None
            hung = beating.process
            assert hung is not None
            hung.send_signal(signal.SIGSTOP)
            server.shutdown()  # connections are taken by the system still, and nobody answers
            until(lambda: beating.starts == 2 and beating.silent == 0, 30, "the one that beats to live again")
            until(lambda: paged.starts == 2, 30, "the one with a page to be started again")
            assert hung.poll() == -signal.SIGKILL
            assert mute.starts == 1
        finally:
            watched.clear()
            supervisor.stop(services, 1)
    said = capsys.readouterr().out
    assert "beating has given no sign of life for 2 s and is ended" in said
