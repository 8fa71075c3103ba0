"""The experiment in MLflow that candidates are logged to, whatever people do with it there."""

from litgo_pipelines.resources.mlflow import MLflow


def test_an_experiment_that_somebody_deleted_is_brought_back(own_store: MLflow) -> None:
    """MLflow keeps its name, and refuses runs: no retraining would be registered until somebody looked."""
    client, experiment = own_store.client(), own_store.experiment_id()
    assert own_store.experiment_id() == experiment
    client.delete_experiment(experiment)
    assert own_store.experiment_id() == experiment
    assert client.create_run(experiment).info.experiment_id == experiment
