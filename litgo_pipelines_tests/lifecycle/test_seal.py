"""Versions of before the ledger named files: a person sees the file and says that it is the one; then it serves."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from typer.testing import CliRunner

from litgo_pipelines.cli import app
from litgo_pipelines.lifecycle import ledger, seal
from litgo_pipelines.lifecycle.ledger import Refused
from litgo_pipelines.matching.serving import Rankers
from litgo_pipelines.models import registry, scorer
from litgo_pipelines.models.bundle import Bundle, load_bundle
from litgo_pipelines.models.features import FEATURES
from litgo_pipelines.models.scorer import Rule, ScorerDamaged
from litgo_pipelines.observability import status
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines_tests.worlds.lifecycle import VERSIONS, Life

pytestmark = pytest.mark.one_server
SERVED = Rule("R")
V = str(VERSIONS + 1)
NDCG = {"mean": 0.61234, "low": 0.6, "high": 0.7}
LABELS = {"train": {"0": 1}, "holdout": {"0": 1}}


def record(models: dict[str, str], **changes: Any) -> dict[str, Any]:
    """metrics.json as a training writes it, without what nothing here reads."""
    return {
        "key": "k1",
        "recipe": {},
        "seeds": [1],
        "models": models,
        "kind": "rule",
        "chosen": "rule",
        "features": list(SERVED.names),
        "rounds": 0,
        "uses_position": False,
        "field": {},
        "headline_k": 5,
        "learning_curve": {},
        "holdout": {"scored": 9, "ndcg": {"5": NDCG, "10": None}},
        "as_of": "2026-01-01",
        "snapshot": {"path": "p", "sha256": "s", "rows": 1, "cases": 1, "labels": LABELS},
        "dagster_run_id": "run",
        "git_sha": None,
        **changes,
    }


def bundle(folder: Path, metrics: dict[str, Any], **files: str) -> Bundle:
    """files: `model01_json` stands for model-1.json."""
    folder.mkdir(parents=True)
    for name, text in {"metrics.json": json.dumps(metrics), "model_card.md": "a card"}.items():
        (folder / name).write_text(text)
    for name, text in files.items():
        (folder / name.replace("_", ".").replace("0", "-")).write_text(text)
    found = load_bundle(folder)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def kept(mlflow_stores: Path, tmp_path_factory: pytest.TempPathFactory) -> MLflow:
    """A store whose version V is as a retraining registers it; its entry in the ledger is each test's."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(mlflow_stores / "template.db", folder / "own.db")
    own = MLflow(tracking_uri=f"sqlite:///{folder / 'own.db'}")
    own.module().create_experiment("litgo-ranker", artifact_location=(folder / "artifacts").as_uri())
    text = scorer.dumps(SERVED)
    made = bundle(folder / "k1", record({"1": scorer.digest(text)}), model01_json=text)
    assert registry.register(own, made, registry.example(1), {}).version == V
    return own


@pytest.fixture
def store(kept: MLflow, tmp_path: Path) -> Iterator[MLflow]:
    """The same for a test that may spoil its files."""
    artifacts = Path(kept.tracking_uri.removeprefix("sqlite:///")).parent / "artifacts"
    shutil.copytree(artifacts, tmp_path / "good")
    yield kept
    shutil.rmtree(artifacts)
    shutil.copytree(tmp_path / "good", artifacts)


@pytest.fixture
def nameless(life: Life) -> Life:
    """Its ledger names version 1 and no file."""
    life.do(ledger.append, "candidate", "c", V, {"ndcg": {"5": NDCG}}, "run", 0)
    life.do(ledger.append, "champion", "k", V, {}, "run", 1)
    return life


def test_it_serves_once_a_person_has_said_so(nameless: Life, store: MLflow, tmp_path: Path) -> None:
    def serving() -> str | None:
        return nameless.do(Rankers(store, tmp_path / "served"), None).champion.version

    assert serving() is None
    assert nameless.do(seal.unsealed) == [V]
    found = nameless.do(seal.look, store, V)
    digest = scorer.digest(scorer.dumps(SERVED))
    assert found.problems == ()
    assert f"SHA-256   {digest}" in found.lines()
    with pytest.raises(Refused, match="only a person"):
        nameless.do(seal.seal, found, nameless.by())
    before = nameless.state()
    entry = nameless.do(seal.seal, found, nameless.by("I know it", by_hand=True))
    assert (entry.transition, entry.version, entry.actor, entry.reason) == ("sealed", V, "ana", "I know it")
    assert entry.evidence["scorer_sha256"] == digest
    assert nameless.do(ledger.seed_hashes, V) == {"1": digest}
    after = nameless.state()
    assert (after.stages, after.champion) == (before.stages, V)
    assert nameless.do(seal.unsealed) == []
    assert serving() == V
    with pytest.raises(Refused, match="needs no seal"):
        nameless.do(seal.look, store, V)
    with pytest.raises(Refused, match="needs no seal"):
        nameless.do(seal.seal, found, nameless.by(by_hand=True))
    with pytest.raises(Refused, match="not in the ledger"):
        nameless.do(seal.look, store, "7")


def test_a_quarantined_version_is_not_sealed(nameless: Life, store: MLflow) -> None:
    nameless.do(ledger.append, "rolled_back", "r", V, {}, "run", 2, actor="ana", reason="bad")
    found = nameless.do(seal.look, store, V)
    with pytest.raises(Refused, match="quarantined"):
        nameless.do(seal.seal, found, nameless.by(by_hand=True))
    assert nameless.do(seal.unsealed) == []


def served_file(store: MLflow) -> Path:
    source = store.client().get_model_version_download_uri(registry.MODEL_NAME, V).removeprefix("file://")
    (file,) = (Path(source) / "data").iterdir()
    return file


def record_file(store: MLflow) -> Path:
    client = store.client()
    run = client.get_run(str(client.get_model_version(registry.MODEL_NAME, V).run_id))
    return Path(run.info.artifact_uri.removeprefix("file://")) / "bundle" / "metrics.json"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (record({"1": "00"}), "another file for the first seed"),
        (record({}), "another file for the first seed"),
        (
            record({"1": scorer.digest(scorer.dumps(SERVED))}, holdout={"ndcg": {"5": NDCG | {"mean": 0.9}}}),
            "the run has NDCG@5 0.61234, its record 0.9",
        ),
    ],
)
def test_a_record_that_says_otherwise_stops_it(
    nameless: Life, store: MLflow, change: dict[str, Any], said: str
) -> None:
    record_file(store).write_text(json.dumps(change))
    found = nameless.do(seal.look, store, V)
    assert said in "; ".join(found.problems)
    with pytest.raises(Refused, match="is not sealed"):
        nameless.do(seal.seal, found, nameless.by(by_hand=True))
    assert nameless.do(seal.unsealed) == [V]


def test_another_model_in_its_place_is_no_longer_what_its_run_says(nameless: Life, store: MLflow) -> None:
    file = served_file(store)
    other = scorer.dumps(Rule("G"))
    file.write_text(other)
    file.rename(file.with_name(scorer.file_name(other)))
    problems = "; ".join(nameless.do(seal.look, store, V).problems)
    assert "another file for the first seed" in problems
    assert "parameters name the features R" in problems
    assert "signature name the features R" in problems


def test_an_entry_that_says_otherwise_stops_it(life: Life, store: MLflow) -> None:
    life.do(ledger.append, "candidate", "c", V, {"ndcg": {"5": NDCG | {"mean": 0.5}}}, "run", 0)
    assert "the ledger has NDCG@5 0.500000" in "; ".join(life.do(seal.look, store, V).problems)


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95", b'{"format": 1}', scorer.dumps(SERVED).encode()[:-9]])
def test_what_does_not_parse_is_refused(nameless: Life, store: MLflow, content: bytes) -> None:
    served_file(store).write_bytes(content)
    with pytest.raises(ScorerDamaged):
        nameless.do(seal.look, store, V)


def test_two_files_are_none(nameless: Life, store: MLflow) -> None:
    other = scorer.dumps(Rule("G"))
    served_file(store).with_name(scorer.file_name(other)).write_text(other)
    with pytest.raises(ScorerDamaged, match="2 files"):
        nameless.do(seal.look, store, V)


def test_what_goes_with_its_run_cannot_be_had(nameless: Life, store: MLflow) -> None:
    record_file(store).unlink()
    with pytest.raises(registry.VersionMissing, match="record of its run is gone"):
        nameless.do(seal.look, store, V)


@pytest.mark.slow
def test_lightgbms_own_file_of_the_first_versions(life: Life, store: MLflow, tmp_path: Path) -> None:
    module, client = store.module(), store.client()
    features = np.random.default_rng(1).random((60, 8))
    given = lgb.Dataset(features, (features[:, 6] * 4).astype(int), group=[20] * 3)
    parameters = {"objective": "lambdarank", "verbose": -1, "min_data_in_leaf": 2, "deterministic": True}
    booster = lgb.train(parameters, given, 3)
    text = booster.model_to_string()
    metrics = record({"1": scorer.digest(text)})
    del metrics["features"]
    made = bundle(tmp_path / "first", metrics, model01_txt=text)
    from mlflow.models import infer_signature

    with module.start_run(experiment_id=store.experiment_id()) as run:
        module.log_artifacts(str(made.folder), "bundle")
        module.log_metric("holdout_ndcg_5", NDCG["mean"])
        frame = registry.frame(features, FEATURES)
        signature = infer_signature(frame, booster.predict(features))
        logged = module.lightgbm.log_model(booster, name="model", signature=signature, pip_requirements=[])
        made_version = client.create_model_version(registry.MODEL_NAME, logged.model_uri, run.info.run_id)
    version = str(made_version.version)
    life.do(ledger.append, "champion", "k", version, {}, "run", 0)
    found = life.do(seal.look, store, version)
    assert (found.problems, found.file.path) == ((), "model.lgb")
    life.do(seal.seal, found, life.by(by_hand=True))
    served = life.do(Rankers(store, tmp_path / "served"), None).champion
    assert (served.version, served.fallback) == (version, None)
    loaded = registry.load_model(store, version, found.file.sha256)
    assert np.array_equal(loaded.predict(frame), booster.predict(features))
    assert len(registry.seed_scorers(store, version, life.do(ledger.seed_hashes, version))) == 1
    source = client.get_model_version_download_uri(registry.MODEL_NAME, version).removeprefix("file://")
    file = Path(source) / "model.lgb"
    file.write_text(file.read_text().replace("num_leaves=", "num_leaves= ", 1))
    with pytest.raises(ScorerDamaged, match="changed"):
        registry.load_model(store, version, found.file.sha256)


def test_the_command_shows_asks_and_writes(
    nameless: Life, store: MLflow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LITGO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LITGO_DATABASE_URL", nameless.url)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.tracking_uri)
    digest = scorer.digest(scorer.dumps(SERVED))
    runner, command = CliRunner(), ["model", "seal", V, "--who", "Bia", "--why", "from the archive"]
    shown = runner.invoke(app, ["model", "show"])
    assert f"no entry names the file of version {V}: `litgo model seal VERSION`" in shown.output
    for name, lines in (("status", status.lines({}, {}, 0, seal.unsealed_in(nameless.url))),):
        assert any(f"litgo model seal {V}" in line.figure and line.state == status.BAD for line in lines), name
    refused = runner.invoke(app, command, input="n\n")
    assert digest in refused.output
    assert (refused.exit_code, nameless.do(seal.unsealed)) == (1, [V])
    done = runner.invoke(app, [*command, "--yes"])
    assert f"entry 3 of the ledger: sealed {V}" in done.output, done.output
    ((actor, reason),) = nameless.rows("SELECT actor, reason FROM litgo.model_ledger WHERE transition = 'sealed'")
    assert actor.startswith("Bia (shell: ")
    assert reason == "from the archive"


def test_a_database_that_is_down_or_new_says_so(life: Life) -> None:
    assert seal.unsealed_in("postgresql://nobody@127.0.0.1:1/x") is None
    assert any(line.state == status.UNKNOWN for line in status.lines({}, {}, 0, None))
    life.do(lambda cursor: cursor.execute("DROP SCHEMA litgo CASCADE"))
    assert seal.unsealed_in(life.url) == []


def test_what_was_shown_is_what_is_written(nameless: Life, store: MLflow) -> None:
    found = nameless.do(seal.look, store, V)
    spoiled = replace(found, problems=("it was changed",))
    with pytest.raises(Refused, match="it was changed"):
        nameless.do(seal.seal, spoiled, nameless.by(by_hand=True))
