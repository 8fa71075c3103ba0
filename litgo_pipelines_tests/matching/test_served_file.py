"""What ranks is the file that the ledger names, byte by byte: any other is refused before it is parsed."""

import os
import re
import shutil
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from litgo_pipelines.database import connect, open_connection
from litgo_pipelines.lifecycle import actions, ledger
from litgo_pipelines.matching.serving import Rankers
from litgo_pipelines.models import registry, scorer, trial
from litgo_pipelines.models.scorer import Rule, ScorerDamaged, earlier_trees
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable
from litgo_pipelines.simulation import faults
from litgo_pipelines.simulation.faults import Fault, FaultServer
from litgo_pipelines_tests.worlds.lifecycle import SERVED, Life, healthy_but, mlflow, own_store
from litgo_pipelines_tests.worlds.matching import fill, match
from litgo_pipelines_tests.worlds.sessions import ask

pytestmark = pytest.mark.one_server

__all__ = ["mlflow", "own_store"]  # fixtures

CODE = """
import os, pathlib
pathlib.Path(os.environ["RAN"]).write_text("code of a foreign model ran")
class Model:
    def predict(self, frame): return [0.0] * len(frame)
def _load_pyfunc(path): return Model()
"""


def digit(raw: bytes, where: float) -> bytes:
    """Another digit in place of the first one after `where` of the file."""
    start = int(len(raw) * where)
    at = next(n for n in range(start, len(raw)) if chr(raw[n]).isdigit())
    return raw[:at] + (b"1" if raw[at : at + 1] != b"1" else b"2") + raw[at + 1 :]


OTHER = scorer.dumps(Rule("G")).encode()
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda raw: b"",
    "cut to a half": lambda raw: raw[: len(raw) // 2],
    "its last byte lost": lambda raw: raw[:-1],
    "a byte more": lambda raw: raw + b" ",
    **{f"a digit at {at:.0%}": partial(digit, where=at) for at in (0.0, 0.2, 0.4, 0.6, 0.8)},
    "an index of a feature": lambda raw: raw.replace(b"split_feature=", b"split_feature=9", 1),
    "another valid model": lambda raw: OTHER,
    "no text": lambda raw: b"\x80\x04\x95" + raw,
}


def text_of_store(mlflow: MLflow) -> bytes:
    return registry._artifact(mlflow, "1", f"data/scorer-{SERVED['scorer_sha256']}.json")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_kept_copy_that_was_changed_ranks_nobody(
    database_url: str, mlflow: MLflow, tmp_path: Path, damage: str
) -> None:
    life, folder = Life(database_url), tmp_path / "served"
    life.champion("1")
    good = text_of_store(mlflow)
    kept = folder / registry.kept_name(mlflow, "1")
    folder.mkdir()
    kept.write_bytes(DAMAGES[damage](good))
    assert kept.read_bytes() != good
    ranker = life.do(Rankers(mlflow, folder), None).champion
    assert (ranker.model, ranker.fallback) == (None, "broken")
    assert "SHA-256" in ranker.problem
    # put aside: the next run fetches the version anew
    assert not kept.exists()
    assert (folder / f".damaged-{kept.name}").exists()
    assert life.do(Rankers(mlflow, folder), None).champion.version == "1"
    assert kept.read_bytes() == good


def test_it_is_counted_and_the_heuristic_ranker_serves(database_url: str, mlflow: MLflow, tmp_path: Path) -> None:
    life, folder = Life(database_url), tmp_path / "served"
    fill(database_url, cases=4)
    life.champion("1")
    folder.mkdir()
    (folder / registry.kept_name(mlflow, "1")).write_bytes(OTHER)
    (result,) = match(database_url, ranker=life.do(Rankers(mlflow, folder), None).champion)
    assert result.matched == 4
    assert ask(database_url, "SELECT DISTINCT ranker FROM litgo.exposures") == [("hand_weights",)]
    counted = ask(
        database_url,
        "SELECT sum(value) FROM litgo.metric_state WHERE name = 'ranker_fallback_total' AND "
        "labels ->> 'reason' = 'broken'",
    )
    assert counted[0][0] > 0


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, registry.LARGEST + 1)


PLACED: dict[str, Callable[[Path], object]] = {
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a good one": lambda path: path.symlink_to(path.with_name("good")),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a pipe": os.mkfifo,
    "a folder": lambda path: (path / "x").mkdir(parents=True),
    "a file without end": sparse,
}


@pytest.mark.parametrize("place", PLACED)
def test_what_is_no_plain_file_ranks_nobody_and_holds_nobody_up(
    database_url: str, mlflow: MLflow, tmp_path: Path, place: str
) -> None:
    life, folder = Life(database_url), tmp_path / "served"
    life.champion("1")
    folder.mkdir()
    (folder / "good").write_bytes(text_of_store(mlflow))
    kept = folder / registry.kept_name(mlflow, "1")
    for _ in range(2):  # one that was put aside before is in nobody's way
        PLACED[place](kept)
        ranker = life.do(Rankers(mlflow, folder), None).champion
        assert (ranker.model, ranker.fallback) == (None, "broken")
        assert life.do(Rankers(mlflow, folder), None).champion.version == "1"
        assert not kept.is_symlink()
        assert kept.read_bytes() == text_of_store(mlflow)
        kept.unlink()


def of_store(mlflow: MLflow) -> Path:
    """The folder of the store's model."""
    source = mlflow.client().get_model_version_download_uri(registry.MODEL_NAME, "1")
    return Path(source.removeprefix("file://"))


@pytest.fixture
def own_model(own_store: MLflow, tmp_path: Path) -> MLflow:
    """A store whose model a test may spoil."""
    module, client = own_store.module(), own_store.client()
    experiment = module.create_experiment("e", artifact_location=(tmp_path / "artifacts").as_uri())
    served = Rule("R")
    with module.start_run(experiment_id=experiment) as run:
        logged = registry.log_scorer(module, served, np.ones((2, 1)))
        client.create_registered_model(registry.MODEL_NAME)
        client.create_model_version(registry.MODEL_NAME, logged.model_uri, run.info.run_id)
    return own_store


RULE = scorer.digest(scorer.dumps(Rule("R")))


def test_code_that_a_foreign_model_brings_does_not_run(
    own_model: MLflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's own loader runs it: what an MLmodel names is imported, from the model's folder."""
    ran = tmp_path / "ran"
    monkeypatch.setenv("RAN", str(ran))
    folder = of_store(own_model)
    (folder / "code").mkdir()
    (folder / "code" / "foreign_loader.py").write_text(CODE)
    described = (folder / "MLmodel").read_text()
    assert "loader_module: litgo_pipelines.models.scorer" in described
    described = described.replace(
        "loader_module: litgo_pipelines.models.scorer", "loader_module: foreign_loader\n    code: code"
    )
    (folder / "MLmodel").write_text(described)
    assert registry.loadable(own_model, "1", tmp_path / "served", RULE)
    assert registry.load_model(own_model, "1", RULE).scorer == Rule("R")
    assert registry.signature_names(own_model, "1") == ("R",)
    assert not ran.exists()
    own_model.module().pyfunc.load_model(f"models:/{registry.MODEL_NAME}/1")
    assert ran.exists(), "the exploit would not have worked anyway"


def test_a_changed_registry_serves_nobody(own_model: MLflow, tmp_path: Path) -> None:
    (file,) = (of_store(own_model) / "data").iterdir()
    file.write_bytes(OTHER)  # under the right name
    with pytest.raises(ScorerDamaged, match="ledger"):
        registry.load_model(own_model, "1", RULE)
    assert registry.loadable(own_model, "1", tmp_path / "served", RULE) is False
    shutil.copy(file, file.with_name(f"scorer-{scorer.digest(OTHER.decode())}.json"))  # and under its own
    assert registry.loadable(own_model, "1", tmp_path / "served", RULE) is False
    assert not list((tmp_path / "served").glob("litgo*"))


ASKED: dict[str, Callable[[MLflow], object]] = {
    "what serves": lambda mlflow: registry.load_model(mlflow, "1", RULE),
    "its seeds": lambda mlflow: registry.seed_scorers(mlflow, "1", {}),
    "its file": lambda mlflow: registry.served_file(mlflow, "1"),
}


@pytest.mark.parametrize("ask_for", ASKED)
@pytest.mark.parametrize(
    "fault", [faults.status(500), faults.status(429), faults.status(401), faults.status(404), faults.html]
)
def test_a_server_that_fails_has_not_said_that_a_version_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: Fault, ask_for: str
) -> None:
    """Else an outage would reject the candidate for good, and roll the champion back."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with FaultServer(healthy_but(fault)) as server:
        mlflow = MLflow(tracking_uri=server.url)
        with pytest.raises(MLflowUnavailable):
            ASKED[ask_for](mlflow)
        assert registry.loadable(mlflow, "1", tmp_path / "served", RULE) is None


@pytest.mark.parametrize("ask_for", ASKED)
def test_files_that_are_not_there_are_missing(own_model: MLflow, tmp_path: Path, ask_for: str) -> None:
    shutil.rmtree(tmp_path / "artifacts")
    with pytest.raises(registry.VersionMissing):
        ASKED[ask_for](own_model)
    assert registry.loadable(own_model, "1", tmp_path / "served", RULE) is False


def test_what_the_ledger_does_not_name_does_not_serve(database_url: str, own_model: MLflow, tmp_path: Path) -> None:
    life = Life(database_url)
    with connect(database_url) as connection, connection.cursor() as cursor:
        ledger.append(cursor, "champion", "k", "1", {}, "run", 0)
        # what came later says nothing about an earlier entry's file
        ledger.append(cursor, "champion", "l", "2", {"scorer_sha256": RULE}, "run", 1)
        ledger.append(cursor, "champion", "m", "2", {"scorer_sha256": "00"}, "run", 2)
        assert ledger.scorer_hashes(cursor) == {"2": RULE}
    rankers = Rankers(own_model, tmp_path / "served")
    life.do(rankers.know)
    assert "names no SHA-256" in rankers.version("1").problem
    actor = ledger.Actor("ana", "try", life.at, "", by_hand=True)
    with connect(database_url) as connection, connection.cursor() as cursor:
        ledger.append(cursor, "candidate", "n", "3", {}, "run", 3)
    with closing(open_connection(database_url)) as connection, pytest.raises(ledger.Refused, match="cannot be loaded"):
        actions.promote(connection, own_model, tmp_path, "3", actor)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tree",
        scorer.dumps(earlier_trees("tree\nversion=v4\nnum_class=1\n", ["R"])),
        scorer.dumps(earlier_trees("tree\nTree=0\nnum_leaves=99999999\nsplit_feature=0", ["R"])),
    ],
)
def test_what_does_not_parse_ends_in_another_process(text: str) -> None:
    with pytest.raises(ScorerDamaged):
        trial.try_in_child(text)


def test_a_parser_that_hangs_is_stopped() -> None:
    with pytest.raises(ScorerDamaged, match="within"):
        trial.try_in_child(scorer.dumps(Rule("R")), seconds=0.01)
    trial.try_in_child(scorer.dumps(Rule("R")))


def test_nothing_of_ours_lets_mlflow_load_a_model() -> None:
    for file in (Path(registry.__file__).parent.parent).rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"pyfunc\.load_model|load_context|mlflow\.lightgbm|pickle\.load|joblib\.load", text), file
