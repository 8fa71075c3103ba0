"""A small marketplace in which everything happens that panels and alerts can show, and a real Prometheus that watches.

What is seen is made by the pipelines' own functions: a simulated history that goes on, real Dagster runs, versions with
a champion and experiments. What only external services would count is added to the metric state.
"""

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from litgo_pipelines.database import connect, open_connection
from litgo_pipelines.definitions import build_defs
from litgo_pipelines.equity.assets import NIGHTS
from litgo_pipelines.experiments import store
from litgo_pipelines.observability.metrics import METRICS, add, count, observe
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.simulation import live
from litgo_pipelines.simulation.load import simulate
from litgo_pipelines.simulation.truth import World
from litgo_pipelines_tests.support import free_port
from litgo_pipelines_tests.worlds.experiments import PLAN, Lab
from litgo_pipelines_tests.worlds.lifecycle import Life
from litgo_pipelines_tests.worlds.monitoring import Market

RULES = Path(__file__).parents[2] / "deploy" / "prometheus"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
STEP = timedelta(minutes=20)  # of the simulated history that goes on, a round


def ask(prometheus: str, path: str, **parameters: Any) -> Any:
    """The data of an answer of Prometheus' API. Raises HTTPError for an expression that cannot be evaluated."""
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)["data"]


def wait_for(what: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.1)


@contextmanager
def watching(folder: Path, exporter_port: int | None = None) -> Iterator[str]:
    """Prometheus with the project's rules on a free port, its URL; scrapes the exporter every second, or nothing."""
    port = free_port()
    for rules in RULES.glob("*.yml"):
        shutil.copy(rules, folder)
    scrape = {"job_name": "litgo", "static_configs": [{"targets": [f"127.0.0.1:{exporter_port}"]}]}
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["recording.yml", "alerts.yml"],
        "scrape_configs": [scrape] if exporter_port else [],
    }
    (folder / "watching.json").write_text(json.dumps(config), encoding="utf-8")
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder / 'watching.json'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
            "--storage.tsdb.retention.time=30d",
        ]
    )
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, "Prometheus ended"
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    try:
        wait_for(ready)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


class Trial(Lab):
    """A challenger's experiment in a marketplace whose champion is there already."""

    def __init__(self, life: Life, version: str) -> None:
        self.life, self.url = life, life.url
        life.challenger(version)
        life.do(
            lambda c: c.execute(
                "INSERT INTO lawyers (id, name, created_at) SELECT md5('lawyer ' || n)::uuid, 'L', '2026-01-01' "
                "FROM generate_series(0, 19) n ON CONFLICT DO NOTHING"
            )
        )
        self.experiment = life.do(store.start, version, PLAN, life.by("a try"))
        self.start = self.experiment.started_at


def fill(url: str, instance: dg.DagsterInstance, folder: Path) -> None:
    """Everything happens once or more. Counters grow between the scrapes of a Prometheus that looks every second."""
    now = datetime.now(UTC).replace(microsecond=0)
    sizes: dict[str, Any] = {"seed": 5, "lawyers": 1500, "cases": 3000, "days": 40, "end": now - 3 * STEP}
    simulate(url, **sizes, progress=False)
    _dagster(instance, now)
    defs = build_defs(postgres=Postgres(url=url), mlflow=MLflow(tracking_uri=f"sqlite:///{folder / 'none.db'}"))

    def run(name: str, *only: str, **more: Any) -> None:
        selection = [dg.AssetKey(asset) for asset in only] or None
        job = defs.resolve_job_def(name)
        assert job.execute_in_process(QUIET, instance=instance, asset_selection=selection, **more).success

    run("nightly_equity", partition_key=NIGHTS.get_partition_keys(now)[-1])
    with closing(open_connection(url)) as connection:
        for number in range(3):
            start = sizes["end"] + number * STEP
            live.step(connection, World(**sizes), start, start + STEP, demand=20)
            run("matching", "case_offers")
    run("offer_expiry")
    _models(url, folder, now)
    for _ in range(3):
        _count(url)
        time.sleep(1.1)  # a scrape sees each


def _dagster(instance: dg.DagsterInstance, now: datetime) -> None:
    """A run that failed, daemons that live, a sensor that was evaluated."""

    @dg.op
    def step() -> None:
        raise dg.Failure("as asked", allow_retries=False)

    @dg.job(name="registration")
    def failing() -> None:
        step()

    failing.execute_in_process(QUIET, instance=instance, raise_on_error=False)
    for daemon in ("SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR"):
        instance.add_daemon_heartbeat(DaemonHeartbeat(now.timestamp(), daemon, "one"))
    sensor = RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("litgo_pipelines"), "__repository__"),
        "pending_cases_sensor",
    )
    data = SensorInstigatorData(now.timestamp())
    state = InstigatorState(sensor, InstigatorType.SENSOR, InstigatorStatus.RUNNING, data)
    instance.add_instigator_state(state)
    for status, error in (
        (TickStatus.FAILURE, SerializableErrorInfo("as asked", [], None)),
        (TickStatus.SKIPPED, None),
    ):
        instance.create_tick(
            TickData(
                state.instigator_origin_id,
                sensor.instigator_name,
                InstigatorType.SENSOR,
                status,
                now.timestamp(),
                error=error,
                selector_id=state.selector_id,
            )
        )


def _count(url: str) -> None:
    """One more of everything that can be counted."""
    for name, metric in METRICS.items():
        with connect(url) as connection, connection.cursor() as cursor:
            for values in product(*metric.labels.values()):
                labels = dict(zip(metric.labels, values, strict=True))
                add(cursor, observe(name, 0.3, **labels) if metric.buckets else [count(name, 1, **labels)])


def _models(url: str, folder: Path, now: datetime) -> None:
    """A champion that is watched beside a holdout, an experiment that was stopped, one that goes on."""
    life = Life(url)
    life.at = now - timedelta(days=35)
    market = Market(life, MLflow(tracking_uri=f"sqlite:///{folder / 'none.db'}"), folder)
    hours = timedelta(hours=1)
    for version in ("1", "2"):  # what they are compared with
        market.requests(version, market.start - 120 * hours, 100, 10, 0.2)
    market.requests("2", market.start, 48, 10, 0.2)
    market.requests("1", market.start, 48, 10, 0.2, arm="holdout")
    taken_back, ticks = market.watch(market.start, 48, 24 * hours)
    assert taken_back is None, ticks[-1]
    stopped = Trial(life, "3")
    life.do(store.stop, life.by("enough"))
    life.at += timedelta(hours=1)
    trial = Trial(life, "4")
    trial.expose(300)
    trial.closed(20)
    assert stopped.experiment.experiment != trial.experiment.experiment
