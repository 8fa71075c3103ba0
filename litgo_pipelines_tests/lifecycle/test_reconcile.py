"""MLflow shows what the ledger says: after every transition, a kill at every write, edits by hand, losses, outages."""

import os
import subprocess
import sys
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from litgo_pipelines.lifecycle.reconcile import COMPARED_EVERY, Reconciled, reconcile, reconciliation_due
from litgo_pipelines.models.registry import MODEL_NAME
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable
from litgo_pipelines.simulation import faults
from litgo_pipelines.simulation.faults import Fault, FaultServer
from litgo_pipelines_tests.support import free_port
from litgo_pipelines_tests.worlds.lifecycle import Life, healthy_but

proof = pytest.mark.proof(
    "litgo_pipelines/lifecycle",
    "litgo_pipelines/models/registry.py",
    "litgo_pipelines/resources/mlflow.py",
    "litgo_pipelines/database",
    "litgo_pipelines/marketplace",
    "litgo_pipelines/steps.py",
    "litgo_pipelines_tests/worlds",
)

pytestmark = pytest.mark.slow


def done(life: Life, mlflow: MLflow) -> Reconciled:
    return life.do(lambda cursor: reconcile(mlflow, cursor, life.at))


def aliases(mlflow: MLflow) -> dict[str, str]:
    return {alias: str(version) for alias, version in mlflow.client().get_registered_model(MODEL_NAME).aliases.items()}


def tags(mlflow: MLflow, version: str) -> dict[str, str]:
    return dict(mlflow.client().get_model_version(MODEL_NAME, version).tags)


def test_aliases_and_tags_follow_the_ledger(life: Life, mlflow: MLflow) -> None:
    life.champion("1")
    assert done(life, mlflow).changes == [
        "alias champion: none → 1",
        "version 1, state: none → champion",
        "version 1, state_reason: none → better",
        "version 1, ledger_sequence: none → 2",
        "version 1, experiment_id: none → e1",
    ]
    assert done(life, mlflow).changes == []
    life.champion("2")
    life.challenger("3")
    found = done(life, mlflow)
    assert aliases(mlflow) == {"champion": "2", "challenger": "3", "previous": "1"}
    assert tags(mlflow, "3") == {"state": "challenger", "state_reason": "passed the gate", "ledger_sequence": "7"}
    assert (found.missing, found.unknown) == ([], ["5", "4"])
    life.rolled_back("2", "1")
    assert done(life, mlflow).state.champion == "1"
    assert aliases(mlflow) == {"champion": "1", "challenger": "3"}
    assert tags(mlflow, "2") == {"state": "quarantined", "state_reason": "worse", "ledger_sequence": "8"}
    assert tags(mlflow, "1")["state"] == "champion"


def test_what_a_hand_changed_is_put_right_and_said(life: Life, mlflow: MLflow) -> None:
    life.champion("1")
    life.champion("2")
    done(life, mlflow)
    client = mlflow.client()
    client.set_registered_model_alias(MODEL_NAME, "champion", "4")
    client.set_registered_model_alias(MODEL_NAME, "challenger", "5")
    client.set_registered_model_alias(MODEL_NAME, "mine", "5")
    client.delete_registered_model_alias(MODEL_NAME, "previous")
    client.set_model_version_tag(MODEL_NAME, "2", "state", "archived")
    client.set_model_version_tag(MODEL_NAME, "2", "note", "kept")
    client.delete_model_version_tag(MODEL_NAME, "1", "ledger_sequence")
    client.set_model_version_tag(MODEL_NAME, "5", "state", "champion")
    assert sorted(done(life, mlflow).changes) == [
        "alias challenger: 5 → none",
        "alias champion: 4 → 2",
        "alias previous: none → 1",
        "version 1, ledger_sequence: none → 5",
        "version 2, state: archived → champion",
        "version 5, state: champion → none",
    ]
    assert aliases(mlflow) == {"champion": "2", "previous": "1", "mine": "5"}
    assert tags(mlflow, "2")["note"] == "kept"


def test_a_version_that_is_gone_is_reported_and_alerted_once(life: Life, mlflow: MLflow) -> None:
    life.champion("1")
    life.champion("2")
    done(life, mlflow)
    mlflow.client().delete_model_version(MODEL_NAME, "2")
    mlflow.client().set_registered_model_alias(MODEL_NAME, "champion", "3")
    for changes in (["alias champion: 3 → none"], []):
        found = done(life, mlflow)
        assert (found.changes, found.missing) == (changes, ["2"])
    assert aliases(mlflow) == {"previous": "1"}
    assert life.rows("SELECT severity, subject FROM litgo.alerts WHERE kind = 'model_version_missing'") == [
        ("critical", "model 2")
    ]


def test_an_empty_registry_is_no_reason_to_change_the_ledger(life: Life, tmp_path: Path, mlflow: MLflow) -> None:
    life.champion("1")
    mlflow.client().delete_registered_model(MODEL_NAME)
    assert done(life, mlflow).missing == ["1"]
    assert life.state().champion == "1"


def test_a_look_costs_one_query_and_finds_what_is_due(life: Life, mlflow: MLflow) -> None:
    def is_due(later: timedelta = timedelta()) -> bool:
        return life.do(reconciliation_due, life.at + later)

    assert not is_due()  # an empty ledger
    life.champion("1")
    assert is_due()
    done(life, mlflow)
    assert not is_due()
    assert is_due(COMPARED_EVERY)  # somebody may have edited it by hand
    life.challenger("2")
    assert is_due()


@pytest.mark.parametrize("fault", [None, faults.status(500), faults.status(429), faults.status(403), faults.html])
def test_while_mlflow_is_down_or_fails_the_ledger_goes_on(
    life: Life, mlflow: MLflow, monkeypatch: pytest.MonkeyPatch, fault: Fault | None
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    life.champion("1")
    with FaultServer(healthy_but(fault)) if fault else nullcontext() as server:
        url = server.url if server else f"http://127.0.0.1:{free_port()}"
        with pytest.raises(MLflowUnavailable):
            done(life, MLflow(tracking_uri=url, probe_timeout_seconds=1))
    life.champion("2")
    assert life.do(reconciliation_due, life.at)
    assert done(life, mlflow).state.champion == "2"
    assert aliases(mlflow) == {"champion": "2", "previous": "1"}


# Forked once for each try, so that MLflow is imported once: a step of a life, then reconcile; SIGKILL comes in the
# transaction before its commit, right after it, or after the first write to MLflow. Prints how often each life ended.
KILLED = """
import os, signal, sys
from litgo_pipelines.database import connect
from litgo_pipelines.lifecycle import ledger, reconcile
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines_tests.worlds.lifecycle import Life
import mlflow as library
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

url, uri = sys.argv[1:]
die = lambda: os.kill(os.getpid(), signal.SIGKILL)

def attempt(step, kill):
    life = Life(url)
    if kill == "before commit":
        life.do = lambda function, *a, **k: killed_inside(function, *a, **k)
    def killed_inside(function, *arguments, **named):
        with connect(url) as connection, connection.cursor() as cursor:
            before = ledger.head(cursor)
            result = function(cursor, *arguments, **named)
            if ledger.head(cursor) > before:
                die()
            return result
    name, *arguments = step
    getattr(life, name)(*arguments)
    if kill == "after commit":
        die()
    if kill == "after a write":
        for write in ("set_registered_model_alias", "delete_registered_model_alias", "set_model_version_tag",
                      "delete_model_version_tag"):
            original = getattr(SqlAlchemyStore, write)
            def wrapped(*a, original=original, **k):
                original(*a, **k)
                die()
            setattr(SqlAlchemyStore, write, wrapped)
    with connect(url) as connection, connection.cursor() as cursor:
        reconcile.reconcile(MLflow(tracking_uri=uri), cursor, life.at)

def champions():
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM litgo.current_champion")
        return cursor.fetchone()[0]

steps = [("candidate", "1"), ("champion", "1"), ("candidate", "2"), ("challenger", "2"), ("champion", "2"),
         ("rolled_back", "2", "1"), ("candidate", "3"), ("archived", "3")]
kills = 0
for step in steps:
    had_champion = champions()
    for kill in ("before commit", "after commit", *["after a write"] * 40):
        child = os.fork()
        if not child:
            try:
                attempt(step, kill)
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert not had_champion or champions() == 1
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, step
            if kill == "after a write":
                break
        kills += os.WIFSIGNALED(status)
    else:
        raise AssertionError(f"{step} never ends")
print(kills)
"""


@proof
def test_killed_anywhere_and_run_again_ledger_and_mlflow_agree(life: Life, mlflow: MLflow) -> None:
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, life.url, mlflow.tracking_uri],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert finished.returncode == 0, finished.stderr
    assert int(finished.stdout) > 20
    assert life.rows("SELECT transition, version FROM litgo.model_ledger ORDER BY sequence") == [
        ("candidate", "1"),
        ("champion", "1"),
        ("candidate", "2"),
        ("challenger", "2"),
        ("champion", "2"),
        ("rolled_back", "2"),
        ("candidate", "3"),
        ("archived", "3"),
    ]
    found = done(life, mlflow)
    assert (found.changes, found.state.champion) == ([], "1")
    assert aliases(mlflow) == {"champion": "1"}
    assert [tags(mlflow, version)["state"] for version in "123"] == ["champion", "quarantined", "archived"]
    told: list[Any] = life.rows("SELECT kind, payload ->> 'version' FROM litgo.outbox ORDER BY message_id")
    assert told == [("model_promoted", "1"), ("model_promoted", "2"), ("model_rolled_back", "2")]
