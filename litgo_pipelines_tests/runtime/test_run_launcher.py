"""What is said of a run whose process may be gone, by a real code server and real processes."""

import json
import subprocess
import sys

import dagster as dg
import pytest
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient

from litgo_pipelines.runtime.run_launcher import CheckedRunLauncher, lives
from litgo_pipelines_tests.support import free_port, until


def test_a_process_lives_until_it_ends_also_while_nobody_took_note() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    until(lambda: lives(child.pid), 10, "the process")
    child.kill()
    until(lambda: not lives(child.pid), 10, "the zombie")
    assert child.wait() != 0
    assert not lives(child.pid)


@pytest.mark.slow
def test_a_code_server_elsewhere_says_what_it_has_and_its_silence_says_nothing() -> None:
    port = int(free_port())
    ours = {"module": "litgo_pipelines.runtime.run_launcher", "class": "CheckedRunLauncher"}
    location = ["-m", "litgo_pipelines_tests.runtime.location"]
    command = [sys.executable, "-m", "dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(port), *location]

    @dg.job
    def anything() -> None: ...

    with dg.instance_for_test(overrides={"run_launcher": ours}) as instance:
        launcher = instance.run_launcher
        assert isinstance(launcher, CheckedRunLauncher)

        def health(tags: dict[str, str]) -> WorkerStatus:
            run = instance.create_run_for_job(anything, status=dg.DagsterRunStatus.STARTED, tags=tags)
            return launcher.check_run_worker_health(run).status

        elsewhere = {GRPC_INFO_TAG: json.dumps({"host": "127.0.0.1", "port": port})}
        assert health({}) == WorkerStatus.RUNNING  # of a process that no launcher began
        assert health(elsewhere) == WorkerStatus.RUNNING
        server = subprocess.Popen(command)
        try:
            client = DagsterGrpcClient(host="127.0.0.1", port=port)
            until(lambda: health(elsewhere) == WorkerStatus.NOT_FOUND, 60, "the code server's word")
            assert client.ping("still there")
        finally:
            server.terminate()
            server.wait(timeout=20)
