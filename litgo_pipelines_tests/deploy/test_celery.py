"""The project's own jobs with their steps on two Celery workers, over Debian's Redis, and over its RabbitMQ."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG, PARENT_RUN_ID_TAG
from sqlalchemy.engine import make_url

pytest.importorskip("dagster_celery", reason="dagster-celery is not installed: the extra `scale` has it")
if shutil.which("redis-server") is None:
    pytest.skip("redis-server is not installed (apt-get install redis-server)", allow_module_level=True)

from litgo_pipelines.database import connect, normalise
from litgo_pipelines.runtime import supervisor
from litgo_pipelines.simulation.load import simulate
from litgo_pipelines_tests.support import PROJECT, execute, free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.proof(
        "litgo_pipelines/runtime",
        "litgo_pipelines/database",
        "litgo_pipelines/definitions.py",
        "litgo_pipelines/jobs.py",
        "litgo_pipelines/steps.py",
        "litgo_pipelines/dagster_internals.py",
        "litgo_pipelines/equity",
        "litgo_pipelines/matching/assets.py",
        "litgo_pipelines_tests/deploy/celery_location.py",
        "deploy/celery",
    ),
]
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # below Debian's own, which changes to a user
WORKER = PROJECT / "deploy" / "celery" / "worker.sh"
LOCATION = "litgo_pipelines_tests.deploy.celery_location"
NIGHT = "2026-03-01"
END = datetime(2026, 3, 2, 5, tzinfo=UTC)  # when that night's window ends
LOOKED_AT = "poll_interval_seconds: 15"  # in dagster.yaml: how often run_monitoring looks


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.1)
    return found


@dataclass
class Cluster:
    """A broker and two workers, w1 and w2, each a session of its own with one process for steps."""

    environment: dict[str, str]
    instance: dg.DagsterInstance
    stack: ExitStack
    workers: dict[str, subprocess.Popen] = field(default_factory=dict)

    def start(self, *command: str) -> subprocess.Popen:
        process = subprocess.Popen(
            command,
            env=self.environment,
            cwd=PROJECT,
            start_new_session=True,
            stdout=(Path(self.environment["LITGO_HOME"]) / "log").open("a"),
            stderr=subprocess.STDOUT,
        )
        self.stack.callback(self.kill, process)
        return process

    def kill(self, process: subprocess.Popen) -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def start_worker(self, name: str) -> None:
        self.workers[name] = self.start(str(WORKER), "--hostname", f"{name}@litgo")

    def dagster(self, verb: str, job: str, tags: dict[str, str]) -> None:
        command = [sys.executable, "-m", "dagster", "job", verb, "-m", LOCATION, "-j", job, "--tags", json.dumps(tags)]
        subprocess.run(command, env=self.environment, cwd=PROJECT, check=True, capture_output=True)

    def rows(self, statement: str) -> list[Any]:
        with connect(self.environment["LITGO_DATABASE_URL"]) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def status(self, run: dg.DagsterRun) -> dg.DagsterRunStatus:
        found = self.instance.get_run_by_id(run.run_id)
        assert found is not None
        return found.status

    def steps(self, run_id: str) -> dict[str, str]:
        """Step → the worker that took it."""
        events = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        return {
            str(event.step_key): str(event.engine_event_data.metadata["Celery worker"].value)
            for event in (entry.dagster_event for entry in events)
            if event and "Celery worker" in event.engine_event_data.metadata
        }


@contextmanager
def redis() -> Iterator[tuple[str, str]]:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd="/tmp")
    try:
        yield f"redis://127.0.0.1:{port}/0", f"redis://127.0.0.1:{port}/1"
    finally:
        process.terminate()
        process.wait(timeout=10)


@contextmanager
def rabbitmq() -> Iterator[tuple[str, str]]:
    """Debian's, with files of its own; what steps return comes back over it too."""
    if not RABBITMQ.exists():
        pytest.skip("rabbitmq-server is not installed (apt-get install rabbitmq-server)")
    with tempfile.TemporaryDirectory(prefix="rabbitmq-", ignore_cleanup_errors=True) as folder:
        port = free_port()
        given = {
            "HOME": folder,
            "RABBITMQ_BASE": folder,
            "RABBITMQ_NODENAME": f"litgo{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_PORT": str(free_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        }
        with (Path(folder) / "out").open("w") as log:
            process = subprocess.Popen(
                [str(RABBITMQ)],
                env={**os.environ, **given},
                cwd=folder,
                start_new_session=True,
                stdout=log,
                stderr=log,
            )
        try:
            until(lambda: answers(port) or process.poll() is not None, 60, "RabbitMQ")
            assert process.poll() is None, Path(log.name).read_text()[-2000:]
            yield f"amqp://guest:guest@127.0.0.1:{port}//", "rpc://"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)
            subprocess.run(["epmd", "-kill"], env={**os.environ, **given}, capture_output=True, check=False)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


BROKERS = {"redis": redis, "rabbitmq": rabbitmq}


@pytest.fixture
def cluster(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Cluster]:
    """a marketplace with 60 lawyers, on the project's dagster.yaml; Redis unless the test names another broker."""
    simulate(database_url, seed=1, lawyers=60, cases=120, days=40, end=END, progress=False)
    dagster_home = tmp_path / "dagster"
    dagster_home.mkdir()
    configuration = (supervisor.FILES / "dagster.yaml").read_text()
    assert LOOKED_AT in configuration
    (dagster_home / "dagster.yaml").write_text(configuration.replace(LOOKED_AT, "poll_interval_seconds: 1"))
    storage = normalise(database_url, f"{name_of(database_url)}_dagster")
    execute(database_url, f'CREATE DATABASE "{name_of(storage)}"')
    with BROKERS[getattr(request, "param", "redis")]() as (broker, results), ExitStack() as stack:
        variables = {
            "LITGO_EXECUTOR": "celery",
            "CELERY_BROKER_URL": broker,
            "CELERY_RESULT_BACKEND": results,
            "LITGO_DATABASE_URL": database_url,
            "DAGSTER_DATABASE_URL": storage,
            "DAGSTER_HOME": str(dagster_home),
            "LITGO_DAGSTER_FILES": str(dagster_home),
            "LITGO_HOME": str(tmp_path),
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",  # no model is registered: nobody asks
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        with dg.DagsterInstance.get() as instance:
            found = Cluster({**os.environ, "PATH": path, "PYTHONPATH": str(PROJECT)}, instance, stack)
            found.start_worker("w1")
            found.start_worker("w2")
            yield found
            stack.close()
    execute(database_url, f'DROP DATABASE "{name_of(storage)}" WITH (FORCE)')


def name_of(url: str) -> str:
    return make_url(url).database or ""


def test_a_worker_without_a_broker_does_not_start() -> None:
    """Celery would fall back to a RabbitMQ on localhost and wait there forever."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run([str(WORKER)], env={"PATH": path}, capture_output=True, text=True, timeout=60)
    assert done.returncode
    assert "CELERY_BROKER_URL" in done.stderr


@pytest.mark.parametrize("cluster", BROKERS, indirect=True)
def test_a_job_of_ours_runs_over_two_workers(cluster: Cluster) -> None:
    before = cluster.rows("SELECT count(*) FROM cases c WHERE EXISTS (SELECT FROM offers o WHERE o.case_id = c.id)")
    cluster.dagster("execute", "matching", {})
    (run,) = cluster.instance.get_runs()
    assert cluster.status(run) == dg.DagsterRunStatus.SUCCESS
    taken = cluster.steps(run.run_id)
    assert {"triaged_cases", "text_embeddings", "case_offers"} <= taken.keys()
    assert set(taken.values()) == {"w1@litgo", "w2@litgo"}
    assert (
        cluster.rows("SELECT count(*) FROM cases c WHERE EXISTS (SELECT FROM offers o WHERE o.case_id = c.id)") > before
    )


def test_a_worker_killed_in_a_step_ends_the_run_at_its_maximum_and_the_retry_does_the_work(cluster: Cluster) -> None:
    url, instance = cluster.environment["LITGO_DATABASE_URL"], cluster.instance
    cluster.start(sys.executable, "-m", "litgo_pipelines.runtime.daemon", "run", "-m", LOCATION)
    with connect(url) as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLE litgo.equity_history IN ACCESS EXCLUSIVE MODE")
        cluster.dagster("launch", "nightly_equity", {"dagster/partition": NIGHT, "dagster/max_retries": "1"})
        (run,) = instance.get_runs()
        worker = until(lambda: cluster.steps(run.run_id).get("lawyer_load"), 60, "a worker to take the step")
        cluster.kill(cluster.workers[worker.split("@")[0]])
    instance.add_run_tags(run.run_id, {MAX_RUNTIME_SECONDS_TAG: "1"})  # the hour of this job, over
    (retry,) = until(lambda: instance.get_runs(dg.RunsFilter(tags={PARENT_RUN_ID_TAG: run.run_id})), 60, "the retry")
    instance.add_run_tags(retry.run_id, {MAX_RUNTIME_SECONDS_TAG: "600"})
    until(lambda: cluster.status(retry) == dg.DagsterRunStatus.SUCCESS, 60, "the retry to succeed")
    assert cluster.status(run) == dg.DagsterRunStatus.FAILURE
    taken = cluster.steps(retry.run_id)
    assert set(taken.values()) == {"w1@litgo", "w2@litgo"} - {worker}
    assert "lawyer_load" in taken
    assert "schema_contract" not in taken  # it goes on where it failed
    assert cluster.rows(f"SELECT count(*) FROM litgo.equity_history WHERE night = '{NIGHT}'") == [(60,)]
