"""What MLflow's pages show of a candidate and its verdict, read back from a real store by its client."""

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from litgo_pipelines.learning import evaluation
from litgo_pipelines.learning.evaluation import Evaluation
from litgo_pipelines.learning.gate import Evenness, judge_candidate
from litgo_pipelines.learning.retrainings import Retraining
from litgo_pipelines.models import bundle, registry, run_page
from litgo_pipelines.models.features import BY_KEY, KEYS
from litgo_pipelines.models.learners import Recipe, Rows
from litgo_pipelines.models.training import train
from litgo_pipelines.resources.mlflow import MLflow

proof = pytest.mark.proof("litgo_pipelines/learning", "litgo_pipelines/models", "litgo_pipelines/resources/mlflow.py")
pytestmark = [pytest.mark.timeout(300), pytest.mark.one_server]
NAMES = ("A", "R", "rank_tenure")
ABOUT: dict[str, Any] = {
    "as_of": "2026-11-29T02:00:00+00:00",  # 28 November in São Paulo
    "snapshot": {
        "rows": 95_738,
        "cases": 19_148,
        "path": f"snapshots/{'ab' * 32}.parquet",
        "sha256": "ab" * 32,
        "labels": {"train": {"0": 60_000, "1": 30_000}, "holdout": {"0": 5_000, "1": 738}},
        "missing_feature_share": {"A": 0.0, "R": 0.1},
    },
    "git_sha": "c0ffee",
    "dagster_run_id": "run-1",
    "training": {
        "began": "2026-11-28T12:00:00+00:00",
        "ended": "2026-11-28T12:03:20+00:00",
        "usage": [
            {"at": 1_796_040_010.0, "cpu": 180.5, "memory": 512.0},
            {"at": 1_796_040_020.0, "cpu": 90.0, "memory": 640.0},
        ],
    },
}


def rows(seed: int) -> Rows:
    """40 cases of 5 lawyers; R decides."""
    random = np.random.default_rng(seed)
    features = random.random((200, 3))
    return Rows(features, (features[:, 1] > 0.6).astype(np.int64), np.full(40, 5, dtype=np.int64), None, NAMES)


@pytest.fixture(scope="module")
def shown(
    mlflow_stores: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[MLflow, registry.Version, bundle.Bundle]:
    """A store with one candidate: a small training of two kinds and two seeds, registered as every candidate is."""
    folder = tmp_path_factory.mktemp("pages")
    recipe = Recipe(kinds=("linear", "lambdamart"), folds=2, min_rounds=10, max_rounds=20, members=1)
    trained = train(rows(1), recipe, [0, 1])
    made = bundle.write_bundle(folder / "models" / "0123456789abcdef", trained, rows(2), recipe, [0, 1], ABOUT)
    shutil.copy(mlflow_stores / "empty.db", folder / "store.db")
    mlflow = MLflow(tracking_uri=f"sqlite:///{folder / 'store.db'}")
    mlflow.module().create_experiment(mlflow.experiment, artifact_location=(folder / "artifacts").as_uri())
    example = registry.example(len(made.names))
    version = registry.register(mlflow, made, example, {"mlflow.user": "ana", "dagster_run_link": "https://d/runs/1"})
    return mlflow, version, made


Shown = tuple[MLflow, registry.Version, bundle.Bundle]


@proof
@pytest.mark.slow
def test_the_run_is_named_and_dated_by_its_training(shown: Shown) -> None:
    mlflow, version, made = shown
    run = mlflow.client().get_run(version.run_id)
    words = run_page.title(made.metrics["chosen"])
    assert run.info.run_name == f"2026-11-28 · 95,738 rows · {words}"
    assert (run.info.status, run.info.start_time, run.info.end_time) == (
        "FINISHED",
        1_795_867_200_000,
        1_795_867_400_000,
    )
    assert run.data.metrics["training_seconds"] == 200
    assert run.data.tags["mlflow.user"] == "ana"
    assert run.data.tags["mlflow.source.name"] == "litgo_pipelines/learning/assets.py"
    assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"
    assert run_page.title("linear + lambdamart, position") == "linear + LambdaMART, position"


@proof
@pytest.mark.slow
def test_the_data_are_inputs_with_digest_source_and_columns(shown: Shown) -> None:
    mlflow, version, made = shown
    given = mlflow.client().get_run(version.run_id).inputs
    assert given is not None
    inputs = given.dataset_inputs
    by_use = {tag.value: found.dataset for found in inputs for tag in found.tags if tag.key == "mlflow.data.context"}
    assert set(by_use) == {"training", "test"}
    for data, number in ((by_use["training"], 90_000), (by_use["test"], 5_738)):
        assert data.digest == ("ab" * 32)[:36]
        assert json.loads(data.source)["uri"] == f"snapshots/{'ab' * 32}.parquet"
        assert json.loads(data.profile or "")["num_rows"] == number
        columns = json.loads(data.schema or "")["mlflow_colspec"]
        assert [column["name"] for column in columns] == [*made.names, "label"]
    source = mlflow.library().data.get_source(by_use["training"])
    assert source.to_dict()["uri"].endswith(".parquet")


@proof
@pytest.mark.slow
def test_the_experiment_is_of_model_training_and_a_person_s_words_stay(shown: Shown) -> None:
    mlflow = shown[0]
    client, experiment = mlflow.client(), mlflow.experiment_id()
    tags = client.get_experiment(experiment).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert "candidate" in tags["mlflow.note.content"]
    client.set_experiment_tag(experiment, "mlflow.note.content", "ours")
    run_page.describe_experiment(client, experiment)
    assert client.get_experiment(experiment).tags["mlflow.note.content"] == "ours"


@proof
@pytest.mark.slow
def test_kinds_and_seeds_are_child_runs_with_metrics_of_one_name(shown: Shown) -> None:
    mlflow, version, made = shown
    client = mlflow.client()
    children = client.search_runs([mlflow.experiment_id()], f"tags.`mlflow.parentRunId` = '{version.run_id}'")
    kinds = {run.data.tags["field"]: run for run in children if "field" in run.data.tags}
    assert {"linear", "lambdamart"} <= set(kinds)
    assert kinds["lambdamart"].info.run_name == "cross-validation · LambdaMART"
    k = made.metrics["headline_k"]
    for name, run in kinds.items():
        assert run.info.end_time - run.info.start_time == round(made.metrics["field"][name]["seconds"] * 1000)
        history = client.get_metric_history(run.info.run_id, f"cv_ndcg_{k}")
        assert {m.step: m.value for m in history} == {int(s): v for s, v in made.metrics["curves"][name].items()}
    assert [run.data.tags["chosen"] for run in kinds.values()].count("true") == 1
    seeds = {run.data.tags["seed"]: run for run in children if "seed" in run.data.tags}
    assert set(seeds) == {"0", "1"}
    headline = f"holdout_ndcg_{made.metrics['holdout']['headline_k']}"
    assert all(headline in run.data.metrics for run in seeds.values())
    assert headline in client.get_run(version.run_id).data.metrics


@proof
@pytest.mark.slow
def test_what_the_training_used_is_under_system_metrics(shown: Shown) -> None:
    mlflow, version, _ = shown
    history = mlflow.client().get_metric_history(version.run_id, "system/cpu_utilization_percentage")
    assert [(m.step, m.value) for m in history] == [(0, 180.5), (1, 90.0)]
    memory = mlflow.client().get_run(version.run_id).data.metrics["system/process_memory_megabytes"]
    assert memory == 640.0


@proof
@pytest.mark.slow
def test_the_card_has_a_legend_and_nothing_that_looks_like_an_address(shown: Shown) -> None:
    mlflow, version, made = shown
    card = mlflow.client().get_model_version(registry.MODEL_NAME, version.version).description
    assert card == mlflow.client().get_run(version.run_id).data.tags["mlflow.note.content"]
    assert "@" not in card
    for name in made.names:
        assert f"| {name} | {BY_KEY[name].name} | {BY_KEY[name].meaning} |" in card
    pictures = {file.path for file in mlflow.client().list_artifacts(version.run_id, "bundle")}
    assert "bundle/field.png" in pictures
    assert bundle.legend(["gone"]).splitlines()[-1] == "| gone | – | – | – |"


def test_a_card_of_whatever_length_fits_into_mlflows_columns() -> None:
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
    from mlflow.store.tracking.dbmodels.models import SqlTag

    columns = (SqlTag.__table__.c["value"], SqlModelVersion.__table__.c["description"])
    taken = tuple(column.type.length for column in columns)
    assert taken == (run_page.LONGEST_NOTE, run_page.LONGEST_DESCRIPTION)
    legend = bundle.legend([*KEYS, *KEYS])
    card = "\n\n".join(["# litgo-ranker", "**Use.** Orders.", legend, "**Limits.** " + "x" * 1500])
    assert len(card) > max(taken)
    for longest in taken:
        shown = run_page.fitted(card, longest)
        assert shown == card.replace(legend, run_page.ELSEWHERE)
        assert run_page.fitted("short", longest) == "short"
        assert len(run_page.fitted("a\n\n" * 9000, longest)) == longest


def retraining_of(version: registry.Version) -> Retraining:
    as_of = datetime.fromisoformat(ABOUT["as_of"])
    return Retraining("root", as_of, mlflow_run_id=version.run_id, mlflow_version=version.version)


def verdict(baseline: float) -> Evaluation:
    """A verdict on 300 cases in two slices, with rivals, replay and drift."""
    random = np.random.default_rng(3)
    candidate = random.uniform(0.6, 0.9, 300)
    decision = judge_candidate(
        candidate,
        candidate - baseline + random.normal(0, 0.01, 300),
        slices={"area Civil": np.arange(300) < 150, "area Penal": np.arange(300) >= 150},
        evenness=Evenness(0.21, 0.2),
        rivals={"rating": candidate - 0.2},
        k=5,
    )
    replays: Any = {
        name: {"version": None, "lambda": 0.5, "gini": gini, "kept": 0.97, "replay": {}}
        for name, gini in (("baseline", 0.2), ("candidate", 0.21))
    }
    return {
        "decision": decision.as_dict(),
        "baseline": "hand weights",
        "candidate_ndcg": {"5": 0.75},
        "baseline_ndcg": {"5": 0.65},
        "kind": "lambdamart",
        "drift": {"A": 0.01, "R": 0.3, "rank_tenure": float("nan")},
        "snapshot_sha256": "ab",
        "candidate_key": "0123456789abcdef",
        "version": "1",
        "fairness": replays,
        "not evaluated": [],
    }


@proof
@pytest.mark.slow
def test_the_verdict_s_numbers_are_metrics_and_told_twice_they_are_there_once(shown: Shown) -> None:
    mlflow, version, _ = shown
    row = retraining_of(version)
    result = verdict(0.1)
    for _ in range(2):
        evaluation.publish(mlflow, row, result)
    client = mlflow.client()
    metrics = client.get_run(version.run_id).data.metrics
    assert metrics["lift"] == pytest.approx(result["decision"]["lift"])
    assert metrics["difference_low"] < metrics["difference"] < metrics["difference_high"]
    assert (metrics["fairness/gini_candidate"], metrics["fairness/gini_baseline"]) == (0.21, 0.2)
    assert (metrics["drift/psi_R"], metrics["drift/psi_highest"]) == (0.3, 0.3)
    assert "drift/psi_rank_tenure" not in metrics
    assert {"slice/area_civil_candidate", "slice/area_penal_baseline", "slice/area_civil_difference_low"} <= set(
        metrics
    )
    assert metrics["rival/rating"] < metrics["ndcg/candidate"]
    assert metrics["baseline_ndcg_5"] == 0.65
    assert len(client.get_metric_history(version.run_id, "lift")) == 1


@proof
@pytest.mark.slow
def test_of_a_run_that_somebody_deleted_the_verdict_is_shown_on_the_version_alone(shown: Shown) -> None:
    mlflow, version, _ = shown
    row = retraining_of(version)
    client, gone = mlflow.client(), row._replace(mlflow_run_id="0" * 32, mlflow_version="99")
    client.delete_run(version.run_id)
    try:
        assert evaluation.publish(mlflow, row, verdict(0.2)) == f"version {version.version}"
        assert client.get_model_version(registry.MODEL_NAME, version.version).tags["gate"] == "passed"
        assert "deleted" in evaluation.publish(mlflow, gone, verdict(0.2))
    finally:
        client.restore_run(version.run_id)
    only_run = row._replace(mlflow_version="99")
    assert evaluation.publish(mlflow, only_run, verdict(0.2)) == f"run {version.run_id}"


def test_a_verdict_without_a_baseline_has_the_numbers_there_are() -> None:
    bare = {**verdict(0.1), "decision": judge_candidate([0.5], None).as_dict(), "fairness": None, "drift": {}}
    assert evaluation.figures(bare) == {}  # type: ignore[arg-type]
    earlier: Any = {"decision": {"outcome": "rejected", "reasons": ["those of a quarantined version"]}}
    assert evaluation.figures(earlier) == {}


@proof
@pytest.mark.slow
def test_a_bundle_of_earlier_code_is_registered_too(shown: Shown, tmp_path: Path) -> None:
    mlflow, _, made = shown
    older = {name: value for name, value in made.metrics.items() if name not in ("training", "curves")}
    folder = tmp_path / "older"
    folder.mkdir()
    for path in made.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "metrics.json").write_text(json.dumps({**older, "key": "older"}))
    found = bundle.load_bundle(folder)
    assert found is not None
    version = registry.register(mlflow, found, registry.example(len(found.names)), {})
    run = mlflow.client().get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.user"] == "litgo"
    assert "training_seconds" not in run.data.metrics


@proof
@pytest.mark.slow
def test_a_registry_that_counts_anew_gives_no_number_of_another_model(shown: Shown) -> None:
    mlflow, _, made = shown
    client, taken = mlflow.client(), {"1", "2", "7"}
    client.rename_registered_model(registry.MODEL_NAME, "renamed by hand")
    try:
        for _ in range(2):
            version = registry.register(mlflow, made, registry.example(len(made.names)), {}, taken)
            assert version.version == "3"
            found = client.search_model_versions(f"name = '{registry.MODEL_NAME}'")
            assert [str(each.version) for each in found] == ["3"]
    finally:
        client.delete_registered_model(registry.MODEL_NAME)
        client.rename_registered_model("renamed by hand", registry.MODEL_NAME)


def test_the_verdict_s_headline_numbers_are_plain_in_dagster() -> None:
    from litgo_pipelines.learning.assets import _ndcg_figures, _verdict_figures

    numbers = {
        **_verdict_figures(evaluation.figures(verdict(0.1))),
        **_ndcg_figures({"5": {"mean": 0.7, "low": 0.6, "high": 0.8}, "10": None}),
    }
    event = dg.AssetMaterialization("x", metadata=numbers)
    assert all(isinstance(value, dg.FloatMetadataValue) for value in event.metadata.values())
    assert {"lift", "difference_low", "fairness/gini_candidate", "drift/psi_R", "NDCG@5, low"} <= set(event.metadata)
    assert not [name for name in event.metadata if name.startswith("slice/")]
