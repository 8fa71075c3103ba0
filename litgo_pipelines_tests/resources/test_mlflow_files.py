"""Whether the files of the models can be reached is looked at through MLflow, counted, and told by an alert."""

import base64

import dagster as dg
import pytest

from litgo_pipelines.automation import artifact_store_sensor
from litgo_pipelines.database import connect
from litgo_pipelines.resources import mlflow as resource
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.simulation import faults
from litgo_pipelines.simulation.faults import Fault, FaultServer
from litgo_pipelines_tests.worlds.lifecycle import Life

SOME, NONE = faults.json_answer({"files": [{"path": "1", "is_dir": True}]}), faults.json_answer({"files": []})
WITHOUT = faults.answer(b"Endpoint disabled: the server runs in `--no-serve-artifacts` mode", 503)
ANSWERS: dict[str, tuple[Fault, str | None]] = {
    "some": (SOME, None),
    "an empty folder": (NONE, "it holds nothing"),
    "a bucket that fails": (faults.status(500), "HTTP 500"),
    "no right": (faults.status(401), "HTTP 401"),
    "elsewhere": (faults.status(302, Location="http://127.0.0.1:1/"), "HTTP 302"),
    "something else's page": (faults.html, "the answer is not MLflow's"),
    "a list": (faults.json_answer([]), "the answer is not MLflow's"),
    "cut off": (faults.truncated_json, "the answer is not MLflow's"),
    "it keeps none": (WITHOUT, None),
    "silence": (faults.hang, "TimeoutError"),
    "a byte now and then": (faults.drip, "TimeoutError"),
    "no end": (faults.endless, "AnswerTooLarge"),
    "a reset": (faults.reset, "ConnectionError"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_the_server_says(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(resource, "FILES_SECONDS", 1.0)
    fault, problem = ANSWERS[name]
    with FaultServer(fault) as server:
        assert MLflow(tracking_uri=server.url).files_problem() == problem


def test_it_asks_under_the_pipelines_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "litgo")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cr3t:ç")
    with FaultServer(SOME) as server:
        assert MLflow(tracking_uri=f"{server.url}/").files_problem() is None
        (request,) = server.requests
    assert request.path == "/api/2.0/mlflow-artifacts/artifacts"
    assert base64.b64decode(request.headers["authorization"].split()[1]).decode() == "litgo:s3cr3t:ç"
    assert MLflow(tracking_uri=faults.refusing_url()).files_problem() == "ConnectionError"
    assert MLflow(tracking_uri="sqlite:///x.db").files_problem() is None


def test_it_is_counted_once_a_model_is_registered(database_url: str) -> None:
    def counted() -> dict[str, float]:
        with connect(database_url) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT labels ->> 'outcome', value FROM litgo.metric_state WHERE name = 'artifact_store_looks_total'"
            )
            return dict(cursor.fetchall())

    with FaultServer(SOME, NONE) as server:

        def look() -> str:
            resources = {"postgres": Postgres(url=database_url), "mlflow": MLflow(tracking_uri=server.url)}
            found = artifact_store_sensor.evaluate_tick(dg.build_sensor_context(resources=resources))
            return str(found.skip_message)

        assert (look(), counted()) == ("no model is registered yet", {})
        Life(database_url).candidate("1")
        assert (look(), counted()) == ("the files are there", {"ok": 1})
        assert (look(), counted()) == ("the models' files cannot be reached: it holds nothing", {"ok": 1, "failed": 1})
