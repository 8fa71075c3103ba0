"""The experiment in MLflow that candidates are logged to, whatever people do with it there, and who answers instead."""

import time

import pytest

from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable
from litgo_pipelines.simulation import faults
from litgo_pipelines.simulation.faults import Fault, FaultServer


def test_an_experiment_that_somebody_deleted_is_brought_back(own_store: MLflow) -> None:
    """MLflow keeps its name, and refuses runs: no retraining would be registered until somebody looked."""
    client, experiment = own_store.client(), own_store.experiment_id()
    assert own_store.experiment_id() == experiment
    client.delete_experiment(experiment)
    assert own_store.experiment_id() == experiment
    assert client.create_run(experiment).info.experiment_id == experiment


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (faults.html, "is not MLflow"),  # a page to sign in, with status 200
        (faults.json_answer({"status": "UP"}), "is not MLflow"),  # its client would make an experiment without an id
        (faults.answer(b""), "is not MLflow"),
        (faults.endless, "is not MLflow"),
        (faults.status(429, **{"Retry-After": "99999999"}), "does not answer"),
        (faults.status(502), "does not answer"),
    ],
)
def test_who_answers_in_its_place_is_not_taken_for_it(fault: Fault, said: str) -> None:
    started = time.monotonic()
    with FaultServer(fault) as server, pytest.raises(MLflowUnavailable, match=said):
        MLflow(tracking_uri=server.url).experiment_id()
    assert time.monotonic() - started < 10
