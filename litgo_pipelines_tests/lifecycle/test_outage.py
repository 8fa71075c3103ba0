"""MLflow is down for an hour while decisions are due: they wait or go on, none is lost or doubled."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests

from litgo_pipelines import automation, steps
from litgo_pipelines.database import open_connection
from litgo_pipelines.definitions import build_defs
from litgo_pipelines.learning import retrainings
from litgo_pipelines.lifecycle import actions
from litgo_pipelines.lifecycle.ledger import Actor
from litgo_pipelines.lifecycle.reconcile import reconcile
from litgo_pipelines.matching.serving import Rankers
from litgo_pipelines.models import registry
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import settings
from litgo_pipelines_tests.support import free_port
from litgo_pipelines_tests.worlds.experiments import DAY, Lab
from litgo_pipelines_tests.worlds.lifecycle import SERVED, Life
from litgo_pipelines_tests.worlds.monitoring import Market

MINUTE = timedelta(minutes=1)


class Server:
    """A real MLflow server that is stopped and started again on the same port and store."""

    def __init__(self, store: Path, log: Path) -> None:
        self.port, self.store, self.log = free_port(), store, log
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "mlflow",
                "server",
                "--workers",
                "1",
                "--host",
                "127.0.0.1",
                "--port",
                str(self.port),
                "--backend-store-uri",
                f"sqlite:///{self.store}",
            ],
            stdout=self.log.open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )
        deadline = time.monotonic() + 240
        while True:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            try:
                if requests.get(f"{self.url}/health", timeout=2).ok:
                    return
            except requests.RequestException:
                time.sleep(0.2)

    def stop(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=30)
            self.process = None


class Ticks:
    """The sensors of a model's life at an instant; what they request is run."""

    NAMES = ("experiments_sensor", "quality_sensor", "reconciliation_sensor", "pending_registration_sensor")

    def __init__(self, resources: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.resources, self.patch = resources, monkeypatch
        self.defs = build_defs(**resources)
        self.sensors: dict[str, Any] = {sensor.name: sensor for sensor in automation.sensors}

    def at(self, now: Any) -> dict[str, str]:
        """Sensor → "run", or why not."""
        self.patch.setattr(steps, "now", lambda: now)
        found = {}
        with dg.DagsterInstance.ephemeral() as instance:
            for name in self.NAMES:
                sensor = self.sensors[name]
                with dg.build_sensor_context(instance=instance, resources=self.resources) as context:
                    done = sensor.evaluate_tick(context)
                found[name] = "run" if done.run_requests else str(done.skip_message)
                if done.run_requests and name != "pending_registration_sensor":
                    job = self.defs.resolve_job_def(sensor.job_name)
                    assert job.execute_in_process(instance=instance, raise_on_error=False).success
        return found


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_an_hour_without_mlflow_loses_and_doubles_nothing(
    life: Life, mlflow_stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITGO_HOME", str(tmp_path / "home"))
    store = tmp_path / "store.db"
    shutil.copy(mlflow_stores / "template.db", store)
    server = Server(store, tmp_path / "log")
    mlflow = MLflow(tracking_uri=server.url)
    lab = Lab(life)
    lab.expose(2000, {"treatment": 0.5, "control": 0.3})
    begin = lab.start + 20 * DAY
    server.start()
    try:
        for version in ("1", "2"):  # both rank already: matching keeps a copy
            registry.load_kept(mlflow, version, settings().served_models, SERVED["scorer_sha256"])
        life.do(lambda cursor: reconcile(mlflow, cursor, begin - MINUTE))
        life.candidate("3")
        life.do(lambda c: retrainings.begin(c, "trained before", begin - DAY))
        life.do(
            lambda c: retrainings.record_step(
                c,
                "trained before",
                snapshot_path="s",
                snapshot_sha256="s",
                snapshot={},
                candidate_key="k",
                bundle_path="b",
                candidate={},
            )
        )
        server.stop()

        ticks = Ticks({"postgres": Postgres(url=life.url), "mlflow": mlflow}, monkeypatch)
        market = Market.__new__(Market)
        market.life, market.series = life, 0
        life.do(lambda c: c.execute("INSERT INTO lawyers (id, name) VALUES (md5('lawyer')::uuid, 'L')"))
        seen = [ticks.at(begin)]
        assert (seen[0]["experiments_sensor"], life.state().champion) == ("run", "2")  # decided without the registry
        # the new champion fails what it is asked, in the middle of the hour
        market.requests("2", begin + 10 * MINUTE, 0.5, 120, 0.2)
        market.ranked("2", None, begin + 10 * MINUTE, begin + 40 * MINUTE)
        seen += [ticks.at(begin + minutes * MINUTE) for minutes in range(10, 70, 15)]
        assert (life.state().champion, life.state().stages["2"]) == ("1", "quarantined")
        assert all("does not answer" in tick["reconciliation_sensor"] for tick in seen)
        assert all("1 trained models wait" in tick["pending_registration_sensor"] for tick in seen)
        with closing(open_connection(life.url)) as connection:
            actor = Actor("ana", "now", begin + 61 * MINUTE, "", by_hand=True)
            with pytest.raises(MLflowUnavailable):  # nobody can say whether it would rank
                actions.promote(connection, mlflow, settings().served_models, "3", actor)
        assert life.do(Rankers(mlflow, settings().served_models), None).champion.version == "1"

        server.start()
        after = ticks.at(begin + 70 * MINUTE)
        assert (after["reconciliation_sensor"], after["pending_registration_sensor"]) == ("run", "run")
    finally:
        server.stop()
    shown = MLflow(tracking_uri=f"sqlite:///{store}").client()
    state = life.state()
    aliases = {a: str(v) for a, v in shown.get_registered_model(registry.MODEL_NAME).aliases.items()}
    serving = {"champion": state.champion, "previous": state.previous}
    assert aliases == {alias: version for alias, version in serving.items() if version}
    assert shown.get_model_version(registry.MODEL_NAME, "2").tags["state"] == "quarantined"
    again = ticks.at(begin + 71 * MINUTE)
    assert not [name for name, what in again.items() if what == "run" and name != "pending_registration_sensor"]
    entries = life.rows(
        "SELECT version, transition FROM litgo.model_ledger WHERE recorded_at >= %s ORDER BY 2", (begin,)
    )
    assert entries == [("2", "champion"), ("2", "rolled_back")]
    assert lab.ends() == [("ranker-v2", "promote")]
