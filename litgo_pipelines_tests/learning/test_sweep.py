"""A sweep: which configurations are tried, how they are compared, and the job with its runs in MLflow."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from litgo_pipelines.learning import sweep
from litgo_pipelines.learning.assets import Kind, SweepConfig, training_snapshot, training_sweep
from litgo_pipelines.models.learners import Recipe, Rows
from litgo_pipelines.models.training import train
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.worlds.learning import AS_OF, Marketplace

SMALL = Recipe(kinds=("linear", "regression"), folds=2, max_rounds=40, patience=20, min_data_in_leaf=10, max_threads=1)


def rows(queries: int = 120, size: int = 6) -> Rows:
    """The middle of the first feature is best, which a straight line cannot say."""
    draw = np.random.default_rng(0)
    features = draw.random((queries * size, 2))
    labels = (4 * (1 - 2 * np.abs(features[:, 0] - 0.5)) + draw.normal(0, 0.2, len(features))).astype(int).clip(0, 3)
    return Rows(features, labels, np.full(queries, size), None, ("U", "Q"))


def test_every_combination_is_tried_beside_the_recipe_as_it_is() -> None:
    assert sweep.grid({}) == [{}]
    found = sweep.grid({"num_leaves": [3, 7], "lambda_l2": [1, 10, 100]})
    assert found[0] == {}
    assert len(found) == 7
    assert {"num_leaves": 7, "lambda_l2": 100} in found
    with pytest.raises(sweep.SweepTooLarge, match="26 configurations"):
        sweep.grid({"num_leaves": range(5), "folds": range(5)})


def test_a_setting_that_cannot_learn_comes_last_and_the_figures_are_those_of_a_training() -> None:
    tried = [({}, SMALL), ({"min_data_in_leaf": 300.0}, replace(SMALL, min_data_in_leaf=300))]
    found = sweep.sweep(rows(), tried)
    assert [one.name for one in found] == ["as it is", "min_data_in_leaf 300"]
    assert found[0].mean > found[1].mean + 0.05
    assert found[0].mean == train(rows(), SMALL, [0]).curve.best
    lines = sweep.table(found).splitlines()
    assert len(lines) == 4
    assert "–" in lines[2]
    assert "(-0." in lines[3]


def test_a_figure_that_does_not_exist_is_no_metric(own_store: MLflow, tmp_path: Path) -> None:
    """MLflow takes NaN, and its page of such a run cannot be opened."""
    known = rows()
    labels = np.where(np.repeat(np.arange(120), 6) < 1, known.labels, 0)  # no case left to validate on
    found = sweep.sweep(replace(known, labels=labels), [({}, SMALL)])
    assert np.isnan(found[0].mean)
    client = own_store.client()
    experiment = client.create_experiment("sweeps", artifact_location=(tmp_path / "artifacts").as_uri())
    sweep.log(client, experiment, found, {})
    assert [run.data.metrics for run in client.search_runs([experiment])] == [{}, {}]


def test_values_that_are_no_settings_are_refused_and_numbers_of_things_are_whole() -> None:
    config = SweepConfig(values={"num_leaves": [7]}, kinds=[Kind.linear], lambda_l2=3)
    recipe = config.with_values({"num_leaves": 7.0})
    assert (recipe.num_leaves, recipe.lambda_l2, recipe.kinds) == (7, 3, ("linear",))
    assert isinstance(recipe.num_leaves, int)
    for wrong in ("leaves", "seeds", "retraining"):
        with pytest.raises(dg.Failure, match=f"{wrong}: no settings"):
            config.with_values({wrong: 1})
    with pytest.raises(dg.Failure, match="must be above 0"):
        config.with_values({"folds": 0})


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_job_compares_on_the_newest_snapshot_under_one_parent(
    learnable_market: Marketplace, own_store: MLflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITGO_HOME", str(tmp_path))
    mlflow = own_store
    mlflow.module().create_experiment(mlflow.experiment, artifact_location=(tmp_path / "artifacts").as_uri())
    resources = {"postgres": Postgres(url=learnable_market.url), "mlflow": mlflow}
    asked = {"values": {"linear_l2": [1.0, 100.0]}, "kinds": ["linear"], "folds": 2}
    config = {"ops": {"sweep_configurations": {"config": asked}}}
    with pytest.raises(dg.Failure, match="no retraining has a snapshot yet"):
        training_sweep.execute_in_process(config, resources=resources)
    as_of = {"ops": {"training_snapshot": {"config": {"as_of": AS_OF.isoformat()}}}}
    assert dg.materialize([training_snapshot], resources=resources, run_config=as_of).success
    assert training_sweep.execute_in_process(config, resources=resources).success
    client, experiment = mlflow.client(), mlflow.experiment_id()
    (parent,) = client.search_runs([experiment], "tags.kind = 'sweep'")
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert {child.info.run_name for child in children} == {"as it is", "linear_l2 1", "linear_l2 100"}
    assert parent.data.metrics["cv_mean"] == max(child.data.metrics["cv_mean"] for child in children)
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert client.search_registered_models() == []
    assert list((tmp_path / "artifacts").rglob("sweep.md"))
