"""Runs forked from the warm process outlive it, and their server knows."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from litgo_pipelines.observability import stops

WARM_ONE_KILLED = """
import os, signal, time
from multiprocessing import forkserver
from litgo_pipelines.runtime import code_server
from litgo_pipelines.runtime.code_server import Forking, began

def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)

if __name__ == "__main__":
    forking = Forking()
    runs = [forking.Process(target=time.sleep, args=(60,)) for _ in range(2)]
    quick = forking.Process(target=os._exit, args=(7,))
    for run in (*runs, quick):
        run.start()
    quick.join(20)
    assert quick.exitcode == 7
    warm = forkserver._forkserver._forkserver_pid
    os.kill(warm, signal.SIGKILL)
    until(lambda: began(warm) is None)
    time.sleep(0.5)
    assert all(run.is_alive() and run.exitcode is None for run in runs), "a run goes on without the warm process"
    os.kill(runs[0].pid, signal.SIGKILL)
    until(lambda: not runs[0].is_alive())
    assert runs[1].is_alive()
    runs[1].terminate()
    runs[1].join(20)
    assert runs[1].exitcode is not None
    again = forking.Process(target=os._exit, args=(3,))  # from a new warm process
    again.start()
    again.join(20)
    assert again.exitcode == 3
    code_server.FORKS_WITHIN = 1.0
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGSTOP)
    refused = forking.Process(target=os._exit, args=(0,))
    try:
        refused.start()
    except EOFError:
        pass
    else:
        raise AssertionError("a warm process that hangs is ended")
    last = forking.Process(target=os._exit, args=(5,))
    last.start()
    last.join(20)
    assert last.exitcode == 5
    print("as expected")
"""


@pytest.mark.slow
@pytest.mark.proof("litgo_pipelines/runtime/code_server.py", "litgo_pipelines/observability/stops.py")
def test_a_run_is_alive_as_long_as_its_process_is_and_begins_though_the_warm_one_hung(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    script = tmp_path_factory.mktemp("warm") / "script.py"
    script.write_text(WARM_ONE_KILLED)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "as expected\n", done.stderr


STOPPED = """
import os, signal, time
from litgo_pipelines.runtime import code_server

if __name__ == "__main__":
    forking = code_server.Forking()
    signal.signal(signal.SIGINT, code_server.stop)
    signal.signal(signal.SIGTERM, code_server.stop)
    runs = [forking.Process(target=time.sleep, args=(60,)) for _ in range(2)]
    for run in runs:
        run.start()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except KeyboardInterrupt:
        for run in runs:
            run.join(20)
        print([run.exitcode for run in runs])
"""


@pytest.mark.slow
@pytest.mark.proof("litgo_pipelines/runtime/code_server.py", "litgo_pipelines/observability/stops.py")
def test_a_stop_is_noted_and_its_runs_are_asked_to_end(tmp_path_factory: pytest.TempPathFactory) -> None:
    """As a container's engine does: only the server is told, what it started is killed with the container."""
    folder = tmp_path_factory.mktemp("stopped")
    (folder / "script.py").write_text(STOPPED)
    before = datetime.now(UTC)
    done = subprocess.run(
        [sys.executable, str(folder / "script.py")],
        env={**os.environ, "LITGO_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "[-15, -15]\n", done.stderr
    (noted,) = stops.read(folder)
    assert before < noted < datetime.now(UTC)


@pytest.mark.slow
@pytest.mark.proof("litgo_pipelines/runtime/code_server.py", "litgo_pipelines/observability/stops.py")
@pytest.mark.parametrize("ignored", [False, True], ids=["", "SIGINT ignored, as in a script's background"])
def test_the_server_itself_notes_it(tmp_path_factory: pytest.TempPathFactory, *, ignored: bool) -> None:
    folder = tmp_path_factory.mktemp("noted")
    command = [sys.executable, "-m", "litgo_pipelines.runtime.code_server", "--socket", str(folder / "socket")]
    command += ["--module-name", "litgo_pipelines_tests.runtime.location"]
    server = subprocess.Popen(
        command,
        env={**os.environ, "LITGO_HOME": str(folder)},
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if ignored else None,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 100
        while not (folder / "socket").exists():
            assert time.monotonic() < deadline
            assert server.poll() is None
            time.sleep(0.2)
        server.terminate()
        while not stops.read(folder):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
