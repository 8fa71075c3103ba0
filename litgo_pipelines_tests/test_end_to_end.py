"""The README's commands as a person runs them: the demo, then everything up, a crash, and a clean stop."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from litgo_pipelines.database import connect
from litgo_pipelines_tests.support import free_port

LITGO = [sys.executable, "-m", "litgo_pipelines.cli"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LITGO_", "DAGSTER_", "MLFLOW_"))}
    return {
        **kept,
        "LITGO_HOME": str(tmp_path_factory.mktemp("home")),
        "DAGSTER_PORT": str(free_port()),
        "MLFLOW_PORT": str(free_port()),
        "GATE_MIN_QUERIES": "50",
        "LEARNING_TRAIN_SEEDS": "2",
    }


@pytest.fixture(scope="module")
def demo(environment: dict[str, str]) -> str:
    """What `litgo demo` prints for a small marketplace."""
    done = subprocess.run(
        [*LITGO, "demo", "--lawyers", "300", "--cases", "3000", "--days", "90"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=700,
        check=False,
    )
    logs = "".join(p.read_text()[-3000:] for p in Path(environment["LITGO_HOME"], "logs").glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    return done.stdout


@pytest.fixture
def up(environment: dict[str, str], demo: str) -> Iterator[tuple[subprocess.Popen, Path]]:
    output = Path(environment["LITGO_HOME"]) / "up.txt"
    with output.open("w") as file:
        process = subprocess.Popen([*LITGO, "up"], env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process, output
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)


def wait_until(condition, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.5)


def processes_of(home: str) -> dict[int, str]:
    """Living processes that were started with this LITGO_HOME, this one aside."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if f"LITGO_HOME={home}\0".encode() in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_says_what_it_did(demo: str) -> None:
    assert "30 nights" in demo
    assert "Gini 0." in demo
    assert "NDCG@5 0." in demo
    assert "litgo-ranker version 1" in demo
    assert "ranked by model version 1" in demo
    assert "cli up`, then open" in demo


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_up_serves_restarts_and_stops(environment: dict[str, str], up: tuple[subprocess.Popen, Path]) -> None:
    process, output = up
    home = environment["LITGO_HOME"]
    graphql = f"http://127.0.0.1:{environment['DAGSTER_PORT']}/graphql"
    wait_until(lambda: "Ctrl-C" in output.read_text(), 240, "the services")

    def ask(query: str) -> dict:
        return requests.post(graphql, json={"query": query}, timeout=60).json()["data"]

    runs = ask("{runsOrError {... on Runs {results {jobName status}}}}")["runsOrError"]["results"]
    assert {"jobName": "nightly_equity", "status": "SUCCESS"} in runs
    assert {"jobName": "retraining", "status": "SUCCESS"} in runs
    of_the_job = (
        'pipelineOrError(params: {repositoryLocationName: "litgo_pipelines", repositoryName: "__repository__", '
        'pipelineName: "retraining"}) {... on Pipeline {runs(limit: 1) {status repositoryOrigin {repositoryName}}}}'
    )
    assert ask(f"{{{of_the_job}}}")["pipelineOrError"]["runs"] == [
        {"status": "SUCCESS", "repositoryOrigin": {"repositoryName": "__repository__"}}
    ]
    assets = ask("{assetNodes {id groupName}}")["assetNodes"]
    groups = {
        "marketplace",
        "intake",
        "embeddings",
        "evidence",
        "matching",
        "equity",
        "learning",
        "lifecycle",
        "contracts",
        "notifications",
        "suppressions",
        "retention",
        "persons",
        "backup",
    }
    assert {node["groupName"] for node in assets} == groups
    models = requests.get(
        f"http://127.0.0.1:{environment['MLFLOW_PORT']}/api/2.0/mlflow/registered-models/get",
        params={"name": "litgo-ranker"},
        auth=("admin", (Path(environment["LITGO_HOME"]) / "mlflow-admin-password").read_text().strip()),
        timeout=30,
    ).json()
    assert models["registered_model"]["latest_versions"][0]["version"] == "1"

    # a new case gets its offers with nobody doing anything
    def in_marketplace(query: str) -> list[tuple]:
        with connect(f"postgresql://postgres@/litgo?host={home}/postgres") as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    ((case,),) = in_marketplace(
        "INSERT INTO cases (client_id, area, subarea, coords, urgency_h, complexity) "
        "SELECT client_id, area, subarea, coords, urgency_h, complexity FROM cases ORDER BY id LIMIT 1 "
        "RETURNING id::text"
    )
    wait_until(
        lambda: in_marketplace(f"SELECT count(*) FROM offers WHERE case_id = '{case}'")[0][0] > 0,
        120,
        "offers of a case",
    )

    def daemon() -> list[int]:
        return [pid for pid, command in processes_of(home).items() if "litgo_pipelines.runtime.daemon run" in command]

    (killed,) = daemon()
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: "dagster-daemon ended with code -9" in output.read_text(), 30, "the crash to be seen")
    wait_until(lambda: daemon() and daemon() != [killed], 30, "the daemon to come back")
    healthy = "{instance {daemonHealth {allDaemonStatuses {daemonType required healthy}}}}"
    wait_until(
        lambda: all(
            status["healthy"]
            for status in ask(healthy)["instance"]["daemonHealth"]["allDaemonStatuses"]
            if status["required"]
        ),
        90,
        "healthy daemons",
    )

    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    wait_until(lambda: not processes_of(home), 20, f"every process to end, left: {processes_of(home)}")
    assert not (Path(home) / "postgres" / "postmaster.pid").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_taken_port_is_a_clear_error(environment: dict[str, str], demo: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*LITGO, "up"],
            env={**environment, "MLFLOW_PORT": port},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode != 0
    assert f"litgo: port {port} is taken" in done.stderr
    assert not processes_of(environment["LITGO_HOME"])


def test_a_setting_that_cannot_be_used_stops_the_start_by_name() -> None:
    done = subprocess.run(
        [*LITGO, "migrate"],
        env={**os.environ, "MIN_REVIEWS_FOR_RETRAIN": "many"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "MIN_REVIEWS_FOR_RETRAIN='many'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_own_database_is_migrated_and_left_running(database_url: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*LITGO, "migrate"],
        env={**os.environ, "LITGO_DATABASE_URL": database_url, "LITGO_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stdout
    assert not (tmp_path / "postgres").exists()
    with connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_database WHERE datname IN ('litgo_dagster', 'litgo_mlflow')")
        assert cursor.fetchone() == (2,)
