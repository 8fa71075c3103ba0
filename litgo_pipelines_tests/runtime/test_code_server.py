"""Runs forked from the warm process outlive it, and their server knows."""

import subprocess
import sys

import pytest

WARM_ONE_KILLED = """
import os, signal, time
from multiprocessing import forkserver
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
    print("as expected")
"""


@pytest.mark.slow
@pytest.mark.proof("litgo_pipelines/runtime/code_server.py")
def test_a_run_is_alive_as_long_as_its_process_is(tmp_path_factory: pytest.TempPathFactory) -> None:
    script = tmp_path_factory.mktemp("warm") / "script.py"
    script.write_text(WARM_ONE_KILLED)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "as expected\n", done.stderr
