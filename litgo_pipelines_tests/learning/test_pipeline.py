"""The four assets in real Dagster runs, with a real Postgres and a real MLflow server."""

import importlib
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from pydantic import ValidationError

from litgo_pipelines.database import connect
from litgo_pipelines.definitions import build_defs
from litgo_pipelines.learning import evaluation, retrainings
from litgo_pipelines.learning.assets import (
    Kind,
    TrainConfig,
    assets,
    candidate_model,
    model_evaluation,
    registered_model,
    training_snapshot,
)
from litgo_pipelines.learning.checks import checks
from litgo_pipelines.lifecycle import ledger, transitions
from litgo_pipelines.lifecycle.reconcile import reconcile
from litgo_pipelines.models import bundle, registry
from litgo_pipelines.models.learners import Recipe
from litgo_pipelines.models.training_data import read_rows
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import settings
from litgo_pipelines_tests.support import free_port
from litgo_pipelines_tests.worlds.learning import AS_OF, Marketplace
from litgo_pipelines_tests.worlds.processes import Child, kill_self
from litgo_pipelines_tests.worlds.small_disk import fill, small_disk

proof = pytest.mark.proof(
    "litgo_pipelines/learning",
    "litgo_pipelines/models",
    "litgo_pipelines/lifecycle",
    "litgo_pipelines/resources/mlflow.py",
    "litgo_pipelines/database",
    "litgo_pipelines/marketplace",
    "litgo_pipelines/steps.py",
    "litgo_pipelines_tests/worlds",
)

pytestmark = [pytest.mark.timeout(500), pytest.mark.one_server]
CONFIG: dict[str, Any] = {"ops": {"training_snapshot": {"config": {"as_of": AS_OF.isoformat()}}}}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LITGO_HOME", str(tmp_path))
    monkeypatch.setenv("LEARNING_TRAIN_SEEDS", "2")
    monkeypatch.setenv("GATE_MIN_QUERIES", "30")
    monkeypatch.setenv("DAGSTER_URL", "https://dagster.example/")
    monkeypatch.setenv("MLFLOW_URL", "https://mlflow.example")
    return tmp_path


def run(
    url: str,
    tracking_uri: str,
    selection: Sequence[dg.AssetsDefinition] = tuple(assets),
    config: dict[str, Any] | None = None,
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [*assets, *checks],
        selection=dg.AssetSelection.assets(*selection) | dg.AssetSelection.checks_for_assets(*selection),
        resources={"postgres": Postgres(url=url), "mlflow": MLflow(tracking_uri=tracking_uri)},
        run_config=CONFIG if config is None else config,
        raise_on_error=False,
    )


def row_of(url: str, root: str) -> retrainings.Retraining:
    with connect(url) as connection, connection.cursor() as cursor:
        return retrainings.get(cursor, root)


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    return {k: v.value for k, v in result.asset_materializations_for_node(asset)[0].metadata.items()}


def failure(result: dg.ExecuteInProcessResult, step: str) -> str:
    (event,) = [e for e in result.all_events if e.is_step_failure and e.step_key == step]
    error = event.step_failure_data.error
    assert error is not None
    return error.to_string()


def test_a_candidate_is_trained_from_the_database_and_kept(learnable_market: Marketplace, environment: Path) -> None:
    training: dict[str, Any] = {"seeds": 1, "folds": 2, "min_rounds": 5, "max_rounds": 20}
    config = {"ops": {**CONFIG["ops"], "candidate_model": {"config": training}}}
    result = run(learnable_market.url, "sqlite:///nowhere", [training_snapshot, candidate_model], config)
    assert result.success
    kept = row_of(learnable_market.url, result.run_id).bundle_path
    assert kept is not None
    trained = bundle.load_bundle(environment / kept)
    assert trained is not None
    assert set(trained.metrics["field"]) >= {kind.value for kind in Kind}
    assert metadata(result, "candidate_model")["kind"] == trained.metrics["kind"]


@pytest.mark.slow
def test_a_retraining_from_the_database_to_a_champion(learnable_market: Marketplace, mlflow_server: str) -> None:
    url, mlflow = learnable_market.url, MLflow(tracking_uri=mlflow_server)
    result = run(url, mlflow_server)
    assert result.success
    row = row_of(url, result.run_id)
    assert row.mlflow_version is not None
    assert row.mlflow_run_id is not None
    assert row.evaluation is not None
    assert row.evaluation["decision"]["outcome"] == "passed"
    assert row.evaluation["baseline"] == "hand weights"
    assert metadata(result, "model_evaluation")["champion now"] == f"litgo-ranker/{row.mlflow_version}"

    # The ledger says so, and the alias follows it.
    with connect(url) as connection, connection.cursor() as cursor:
        champion = ledger.current_champion(cursor)
        assert champion is not None
        assert champion.version == row.mlflow_version
        assert ledger.head(cursor) == 2
    client = mlflow.client()
    assert client.get_model_version_by_alias("litgo-ranker", "champion").version == row.mlflow_version

    # What a run must hold.
    page = client.get_run(row.mlflow_run_id)
    assert page.info.status == "FINISHED"
    assert page.data.params["snapshot_sha256"] == row.snapshot_sha256
    assert page.data.params["snapshot_rows"] == "2400"
    assert page.data.tags["dagster_run_id"] == result.run_id
    assert page.data.tags["dagster_run_link"] == f"https://dagster.example/runs/{result.run_id}"
    assert page.data.tags["gate"] == "passed"
    for k in (1, 3, 5, 10):
        low, mean, high = (page.data.metrics[f"holdout_ndcg_{k}{end}"] for end in ("_low", "", "_high"))
        assert low <= mean <= high
    children = client.search_runs([mlflow.experiment_id()], f"tags.`mlflow.parentRunId` = '{row.mlflow_run_id}'")
    fields = {child.data.tags["field"] for child in children if "field" in child.data.tags}
    assert {"linear", "regression", "lambdamart", "softmax", "rule: rating"} <= fields
    assert {child.data.params["seed"] for child in children if "seed" in child.data.params} == {"0", "1"}
    assert page.data.params["kind"] in str(page.data.tags["mlflow.note.content"])
    names = {file.path for file in client.list_artifacts(row.mlflow_run_id, "bundle")}
    expected = ("learning_curve.png", "importance.png", "shap.png", "calibration.png", "model_card.md", "model-1.json")
    assert {f"bundle/{name}" for name in expected} <= names
    assert "evaluation.json" in {file.path for file in client.list_artifacts(row.mlflow_run_id)}
    assert len(client.list_artifacts(row.mlflow_run_id, "comparison")) == 1
    link = metadata(result, "registered_model")["mlflow run"]
    assert link.startswith("https://mlflow.example/#/experiments/")
    assert link.endswith(f"/runs/{row.mlflow_run_id}")
    assert metadata(result, "candidate_model")["importance"].startswith("![plot](data:image/png;base64,iVBOR")

    # What comes back from the registry is what went in, whatever the order of the caller's columns.
    assert row.snapshot_path is not None
    with connect(url) as connection, connection.cursor() as cursor:
        recorded = ledger.scorer_hashes(cursor)[row.mlflow_version]
    model = registry.load_model(mlflow, row.mlflow_version, recorded)
    own = bundle.load_bundle(settings().home / str(row.bundle_path))
    assert own is not None
    features = read_rows(settings().home / row.snapshot_path, "holdout").columns(own.names).features
    features[::3, 2] = np.nan
    scores = own.scorers()[0].scores(features)
    assert registry.reload_problems(model, own.names, features, scores) == ()
    assert "predicts something else" in registry.reload_problems(model, own.names, features, scores + 1e-9)[0]

    # The same data again: nothing is trained, uploaded or decided a second time.
    again = run(url, mlflow_server)
    assert again.success
    second = row_of(url, again.run_id)
    assert (second.candidate_key, second.mlflow_version) == (row.candidate_key, row.mlflow_version)
    assert second.evaluation == row.evaluation
    versions = client.search_model_versions(f"name = 'litgo-ranker' and tags.candidate_key = '{row.candidate_key}'")
    assert len(versions) == 1
    with connect(url) as connection, connection.cursor() as cursor:
        assert ledger.head(cursor) == 2

    # Another candidate of the same data is no better than the champion, and does not replace it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEARNING_TRAIN_SEEDS", "1")
        third_run = run(url, mlflow_server)
    third = row_of(url, third_run.run_id)
    assert third_run.success
    assert third.mlflow_version != row.mlflow_version
    assert third.evaluation is not None
    assert third.evaluation["baseline"] == f"litgo-ranker/{row.mlflow_version}"
    assert third.evaluation["decision"]["outcome"] == "rejected"
    assert client.get_model_version_by_alias("litgo-ranker", "champion").version == row.mlflow_version

    # A champion that cannot be loaded is no baseline, and without a baseline nothing passes.
    lost = ledger.Entry(9, "champion", "k", "9999", {}, "r")
    with connect(url) as connection, connection.cursor() as cursor:
        decision = evaluation.evaluate(mlflow, third, lost, settings(), cursor, AS_OF)["decision"]
    assert decision["outcome"] == "rejected"
    assert "9999" in decision["reasons"][-1]

    # An alias set by hand is put right from the ledger.
    assert third.mlflow_version is not None
    client.set_registered_model_alias("litgo-ranker", "champion", third.mlflow_version)
    with connect(url) as connection, connection.cursor() as cursor:
        changes = reconcile(mlflow, cursor, AS_OF).changes
    assert changes == [f"alias champion: {third.mlflow_version} → {row.mlflow_version}"]

    # The data of a version that was rolled back are not learned from again, and nothing waits for that.
    actor = ledger.Actor("monitor", "worse", AS_OF, "run")
    with connect(url) as connection, connection.cursor() as cursor:
        transitions.roll_back(cursor, row.mlflow_version, None, "incident", {}, actor)
    refused = run(url, mlflow_server)
    assert "are those of a quarantined version" in failure(refused, "registered_model")
    with connect(url) as connection, connection.cursor() as cursor:
        assert retrainings.pending_registrations(cursor) == []
    assert client.get_model_version_by_alias("litgo-ranker", "champion").version == row.mlflow_version


@pytest.mark.slow
def test_mlflow_down_loses_nothing_and_a_later_run_goes_on(learnable_market: Marketplace, mlflow_server: str) -> None:
    url = learnable_market.url
    result = run(url, f"http://127.0.0.1:{free_port()}")
    assert not result.success
    assert "litgo up" in failure(result, "registered_model")
    row = row_of(url, result.run_id)
    folder = settings().home / str(row.bundle_path)
    trained_at = (folder / "metrics.json").stat().st_mtime_ns
    assert row.mlflow_version is None
    with connect(url) as connection, connection.cursor() as cursor:
        assert retrainings.pending_registrations(cursor) == [result.run_id]
        assert ledger.head(cursor) == 0

    step = {"config": {"retraining": result.run_id}}
    later = run(
        url,
        mlflow_server,
        [registered_model, model_evaluation],
        {"ops": {"registered_model": step, "model_evaluation": step}},
    )
    assert later.success
    assert (folder / "metrics.json").stat().st_mtime_ns == trained_at
    row = row_of(url, result.run_id)
    assert row.mlflow_version is not None
    assert row.evaluation is not None
    with connect(url) as connection, connection.cursor() as cursor:
        assert retrainings.pending_registrations(cursor) == []


def retraining_job() -> dg.JobDefinition:
    return build_defs().resolve_job_def("retraining")


@pytest.mark.slow
def test_a_re_execution_from_failure_goes_on_with_its_root_s_row(
    learnable_market: Marketplace, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = learnable_market.url
    monkeypatch.setenv("LITGO_DATABASE_URL", url)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    job = dg.reconstructable(retraining_job)
    with dg.instance_for_test() as instance:
        with dg.execute_job(job, instance, run_config=CONFIG, raise_on_error=False) as failed:
            assert not failed.success
            root = failed.dagster_run.run_id
        monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
        options = dg.ReexecutionOptions.from_failure(root, instance)
        with dg.execute_job(job, instance, run_config=CONFIG, reexecution_options=options) as again:
            assert again.success
            assert again.dagster_run.root_run_id == root
            steps = {event.step_key for event in again.all_events if event.is_step_success}
    assert steps == {"registered_model", "model_evaluation"}
    assert row_of(url, root).evaluation is not None
    assert learnable_market.execute("SELECT count(*) FROM litgo.retrainings") == [(1,)]


@proof
@pytest.mark.slow
def test_two_retrainings_at_once_make_one_version(learnable_market: Marketplace, mlflow_server: str) -> None:
    url = learnable_market.url
    both = [Child(succeed, url, mlflow_server) for _ in range(2)]
    assert [child.wait() for child in both] == [0, 0], [child.output() for child in both]
    rows = learnable_market.execute("SELECT DISTINCT candidate_key, mlflow_version, evaluation FROM litgo.retrainings")
    assert len(rows) == 1
    assert (
        len(MLflow(tracking_uri=mlflow_server).client().search_model_versions(f"tags.candidate_key = '{rows[0][0]}'"))
        == 1
    )
    assert learnable_market.execute("SELECT transition FROM litgo.model_ledger ORDER BY sequence") == [
        ("candidate",),
        ("champion",),
    ]


@pytest.mark.slow
def test_no_database_at_the_start_is_a_clear_error(mlflow_server: str) -> None:
    result = run("postgresql://nobody@127.0.0.1:1/none", mlflow_server)
    assert not result.success
    assert "no connection to Postgres" in failure(result, "training_snapshot")


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_half_written(learnable_market: Marketplace, environment: Path) -> None:
    def learn() -> dg.ExecuteInProcessResult:
        return run(learnable_market.url, "http://127.0.0.1:1", [training_snapshot, candidate_model])

    with small_disk(environment, 16 * 2**20):
        ballast = environment / "ballast"
        fill(ballast)
        assert "No space left" in failure(learn(), "training_snapshot")
        assert [path for path in environment.rglob("*") if path.is_file()] == [ballast]
        fill(ballast, but=300_000)
        assert "No space left" in failure(learn(), "candidate_model")
        kept = [path.suffix for path in environment.rglob("*") if path.is_file() and path != ballast]
        assert kept == [".parquet"]
        ballast.unlink()
        assert learn().success


def test_a_server_that_is_down_is_told_quickly() -> None:
    with pytest.raises(MLflowUnavailable, match="is it running"):
        MLflow(tracking_uri=f"http://127.0.0.1:{free_port()}").client()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE offers SET status = 'declined'; DELETE FROM reviews; DELETE FROM contracts", "labels are equal"),
        ("DELETE FROM reviews; DELETE FROM contracts; DELETE FROM offers", "no rows"),
        (
            "UPDATE case_matches SET features = jsonb_set(features, '{R}', '1.5') "
            "WHERE case_id = (SELECT case_id FROM offers ORDER BY sent_at LIMIT 1)",
            "feature R: 6 values outside [0, 1]",
        ),
    ],
)
def test_an_unsound_snapshot_is_not_learned_from(
    learnable_market: Marketplace, environment: Path, change: str, problem: str
) -> None:
    learnable_market.execute(change)
    result = run(learnable_market.url, "sqlite:///nowhere", [training_snapshot, candidate_model])
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert problem in str(check.description)
    assert not (environment / "models").exists()
    assert row_of(learnable_market.url, result.run_id).bundle_path is None


def test_the_snapshot_s_check_executed_alone_looks_at_the_newest_snapshot(learnable_market: Marketplace) -> None:
    resources = {"postgres": Postgres(url=learnable_market.url)}
    alone = dg.AssetSelection.checks_for_assets(training_snapshot)

    def checked() -> dg.AssetCheckEvaluation:
        done = dg.materialize([training_snapshot, *checks], selection=alone, resources=resources, raise_on_error=False)
        (found,) = done.get_asset_check_evaluations()
        return found

    nothing = checked()
    assert (nothing.passed, nothing.description) == (False, "there is no snapshot yet: run training_snapshot")
    made = dg.materialize([training_snapshot], resources=resources, run_config=CONFIG)
    shown = metadata(made, "training_snapshot")
    assert [column.name for column in shown["dagster/column_schema"].columns][-2:] == ["uf", "new_lawyer"]
    assert "label" in shown["dagster/column_lineage"].deps_by_column
    assert checked().passed


def test_a_step_without_its_retraining_says_what_to_do(market: Marketplace) -> None:
    result = run(market.url, "sqlite:///nowhere", [candidate_model], {})
    assert "run training_snapshot with it" in failure(result, "candidate_model")


@pytest.mark.parametrize("as_of", ["2026-06-01T00:00:00", "yesterday"])
def test_an_instant_that_is_none_is_refused(market: Marketplace, as_of: str) -> None:
    config = {"ops": {"training_snapshot": {"config": {"as_of": as_of}}}}
    assert as_of in failure(run(market.url, "sqlite:///nowhere", [training_snapshot], config), "training_snapshot")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"features": ["R", "mood"]}, "features mood: there are A, S, T"),
        ({"max_rounds": 5}, "max_rounds must not be below min_rounds"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"kinds": []}, "at least one"),
    ],
)
def test_a_training_configuration_that_cannot_be_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(dg.Failure, match=said):
        TrainConfig(**given).recipe()


def test_a_kind_that_is_none_is_refused_before_the_run() -> None:
    given: dict[str, Any] = {"kinds": ["forest"]}
    with pytest.raises(ValidationError, match="'linear', 'regression', 'lambdamart' or 'softmax'"):
        TrainConfig(**given)
    with pytest.raises(dg.DagsterInvalidConfigError, match="not in enum type Kind got forest"):
        run(
            "postgresql://nobody@127.0.0.1:1/none",
            "x",
            [candidate_model],
            {"ops": {"candidate_model": {"config": given}}},
        )


def test_a_training_configuration_says_only_what_differs() -> None:
    assert TrainConfig(seeds=3).recipe() == Recipe()
    assert TrainConfig(kinds=[Kind.linear], features=["R", "G"], folds=3).recipe() == Recipe(
        kinds=("linear",), features=("R", "G"), folds=3
    )


def test_without_as_of_the_run_s_start_is_the_instant(market: Marketplace) -> None:
    result = run(market.url, "sqlite:///nowhere", [training_snapshot], {})
    ((began,),) = market.execute(
        "SELECT as_of <= started_at AND as_of > started_at - interval '5 minutes' "
        "FROM litgo.retrainings WHERE root_run_id = %s",
        (result.run_id,),
    )
    assert began


def killed_run(url: str, tracking_uri: str, module: str, owner: str, attribute: str) -> None:
    """A retraining that is killed where it would call this function."""
    setattr(importlib.import_module(f"{module}.{owner}"), attribute, kill_self)
    run(url, tracking_uri)


def succeed(url: str, tracking_uri: str) -> None:
    assert run(url, tracking_uri).success


@proof
@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "owner", "attribute"),
    [
        ("litgo_pipelines.learning", "snapshot", "file_sha256"),  # the partial file is written, not yet named
        ("litgo_pipelines.models", "bundle", "model_card"),  # models written, the folder not complete
        ("litgo_pipelines.models", "registry", "log_scorer"),  # the MLflow run is open
        ("litgo_pipelines.learning", "retrainings", "pending_registrations"),  # never called: no kill, the control
        ("litgo_pipelines.lifecycle", "reconcile", "reconcile"),  # promoted in the ledger, the alias not set
    ],
)
def test_a_kill_at_any_step_and_a_rerun_end_the_same(
    learnable_market: Marketplace, mlflow_server: str, environment: Path, module: str, owner: str, attribute: str
) -> None:
    url, mlflow = learnable_market.url, MLflow(tracking_uri=mlflow_server)
    child = Child(killed_run, url, mlflow_server, module, owner, attribute)
    assert child.wait() == (0 if attribute == "pending_registrations" else -signal.SIGKILL), child.output()

    result = run(url, mlflow_server)
    assert result.success
    row = row_of(url, result.run_id)
    with connect(url) as connection, connection.cursor() as cursor:
        champion = ledger.current_champion(cursor)
        assert ledger.head(cursor) == 2
    assert champion is not None
    client = mlflow.client()
    assert client.get_model_version_by_alias("litgo-ranker", "champion").version == champion.version
    assert len(list((environment / "snapshots").glob("[!.]*"))) == 1
    assert len(list((environment / "models").glob("[!.]*"))) == 1
    filter_ = f"tags.candidate_key = '{row.candidate_key}'"
    assert [v.version for v in client.search_model_versions(f"name = 'litgo-ranker' and {filter_}")] == [
        champion.version
    ]
    runs = client.search_runs([mlflow.experiment_id()], filter_)
    assert sorted(r.info.status for r in runs) == (
        ["FINISHED", "KILLED"] if attribute == "log_scorer" else ["FINISHED"]
    )
