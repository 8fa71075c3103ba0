"""What people do by hand and taking a champion back, with real models, and the same as Dagster jobs."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from litgo_pipelines.automation import asset_job
from litgo_pipelines.jobs import JOBS
from litgo_pipelines.lifecycle import actions, ledger
from litgo_pipelines.lifecycle.assets import assets, jobs
from litgo_pipelines.models.registry import MODEL_NAME, loadable
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.steps import ACTOR_TAG, UNAUTHENTICATED
from litgo_pipelines_tests.support import free_port
from litgo_pipelines_tests.worlds.lifecycle import SERVED, Life
from litgo_pipelines_tests.worlds.sessions import kept

pytestmark = pytest.mark.slow

DOWN = "http://127.0.0.1:{}"


@pytest.fixture
def hand(life: Life, mlflow: MLflow, tmp_path: Path) -> Callable[..., ledger.Entry]:
    """An action by hand, with the store and a folder for kept models where it takes them."""

    def act(action: Any, *arguments: Any, store: MLflow = mlflow) -> ledger.Entry:
        with kept(life.url) as connection:
            first = () if action is actions.lift_freeze else (store, tmp_path / "served")
            return action(connection, *first, *arguments, life.by("I looked at it", by_hand=True))

    return act


def test_a_person_promotes_and_takes_back(life: Life, hand: Callable[..., ledger.Entry]) -> None:
    life.champion("1")
    life.candidate("2")
    entry = hand(actions.promote, "2")
    assert (entry.actor, entry.reason, entry.version) == ("ana", "I looked at it", "2")
    assert hand(actions.promote, "2") == entry
    entry = hand(actions.roll_back, "2")
    assert (entry.successor, entry.evidence["loadable"]) == ("1", {"1": True})
    assert hand(actions.roll_back, "2") == entry  # not the one before as well
    assert life.state().champion == "1"
    assert life.rows("SELECT kind, severity, subject FROM litgo.alerts ORDER BY alert_id") == [
        ("model_promoted", "info", "model 1"),
        ("model_promoted", "info", "model 2"),
        ("model_rolled_back", "warning", "model 2"),
    ]
    assert life.rows("SELECT payload FROM litgo.outbox ORDER BY message_id DESC LIMIT 1") == [
        ({"version": "2", "previous": "1", "reason": "I looked at it"},)
    ]


def test_what_is_refused_says_why_and_writes_nothing(life: Life, hand: Callable[..., ledger.Entry]) -> None:
    life.champion("1")
    life.candidate("77")  # the registry has no such version
    before = life.do(ledger.head)
    for action, version, reason in (
        (actions.promote, "77", "cannot be loaded"),
        (actions.promote, "3", "not in the ledger"),
        (actions.roll_back, "77", "only the champion"),
        (actions.lift_freeze, None, "not frozen"),
    ):
        with pytest.raises(ledger.Refused, match=reason):
            hand(action, *[version] if version else [])
    assert life.do(ledger.head) == before


def test_after_a_second_rollback_nothing_goes_up_until_a_person_acts(
    life: Life, hand: Callable[..., ledger.Entry]
) -> None:
    life.champion("1")
    life.champion("3")
    assert hand(actions.roll_back, "3").successor == "1"
    assert hand(actions.roll_back, "1").successor is None
    assert life.do(ledger.current_champion) is None
    life.candidate("2")
    with pytest.raises(ledger.Refused, match="frozen until a person"):
        hand(actions.promote, "2")
    entry = hand(actions.lift_freeze)
    assert (entry.version, entry.evidence["frozen"]) == ("1", "two rollbacks in 7 days, the second of version 1")
    assert hand(actions.lift_freeze) == entry
    hand(actions.promote, "2")
    assert life.state().champion == "2"
    assert life.rows("SELECT kind, severity FROM litgo.alerts ORDER BY alert_id")[2:5] == [
        ("model_rolled_back", "warning"),
        ("model_rolled_back", "critical"),
        ("promotion_frozen", "critical"),
    ]


def test_a_predecessor_that_cannot_be_loaded_is_passed_over(
    life: Life, hand: Callable[..., ledger.Entry], mlflow: MLflow
) -> None:
    for version in "123":
        life.champion(version)
    mlflow.client().delete_model_version(MODEL_NAME, "2")
    entry = hand(actions.roll_back, "3")
    assert (entry.successor, entry.evidence["loadable"]) == ("1", {"2": False, "1": True})
    assert life.state().stages["2"] == "archived"


def test_a_rollback_does_not_wait_for_mlflow(
    life: Life, hand: Callable[..., ledger.Entry], mlflow: MLflow, tmp_path: Path
) -> None:
    for version in "1234":
        life.champion(version)
    down = MLflow(tracking_uri=DOWN.format(free_port()), probe_timeout_seconds=1)
    assert hand(actions.roll_back, "4", store=down).successor == "3"  # nobody knows, and the bad one must go
    life.candidate("5")
    with pytest.raises(MLflowUnavailable):
        hand(actions.promote, "5", store=down)
    # a kept copy of an older one is better than a newer one that nobody can load
    kept = MLflow(tracking_uri=mlflow.tracking_uri)
    assert loadable(kept, "1", tmp_path / "served", SERVED["scorer_sha256"])
    for copy in (tmp_path / "served").iterdir():
        name = actions.registry.kept_name(down, "1")
        copy.rename(copy.with_name(name))
    assert hand(actions.roll_back, "3", store=down).successor == "1"


def test_two_at_once_take_one_decision(life: Life, mlflow: MLflow, tmp_path: Path) -> None:
    for version in "123":
        life.champion(version)
    barrier = threading.Barrier(4)
    outcomes: list[int | str] = []

    def decide(number: int) -> None:
        with kept(life.url) as connection:
            actor = ledger.Actor("monitor", "worse", life.at, f"run {number}")
            barrier.wait()
            try:
                outcomes.append(
                    actions.roll_back_champion(
                        connection, mlflow, tmp_path, "3", f"incident {number % 2}", {}, actor
                    ).sequence
                )
            except ledger.Refused as error:
                outcomes.append(str(error))

    loadable(mlflow, "2", tmp_path, SERVED["scorer_sha256"])
    threads = [threading.Thread(target=decide, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = "version 3 is quarantined: only the champion is rolled back"
    assert sorted(map(str, outcomes)) == ["9", "9", refused, refused]
    assert life.state().champion == "2"
    assert life.rows("SELECT count(*) FROM litgo.outbox WHERE kind = 'model_rolled_back'") == [(1,)]


def test_the_jobs(life: Life, mlflow: MLflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITGO_HOME", str(tmp_path))
    resources = {"postgres": Postgres(url=life.url), "mlflow": mlflow}
    every_job = [*jobs, asset_job(JOBS["registry_reconciliation"])]
    defs = dg.Definitions(assets=[*assets, dg.AssetSpec("model_evaluation")], jobs=every_job, resources=resources)

    def run(job: str, op: str | None = None, login: str | None = None, **config: str) -> dg.ExecuteInProcessResult:
        run_config = {"ops": {op: {"config": config}}} if op else {}
        tags = {ACTOR_TAG: login} if login else {}
        return defs.resolve_job_def(job).execute_in_process(run_config=run_config, raise_on_error=False, tags=tags)

    def failure(result: dg.ExecuteInProcessResult) -> str:
        (event,) = [event for event in result.all_events if event.is_step_failure]
        return event.step_failure_data.error.to_string() if event.step_failure_data.error else ""

    life.champion("1")
    life.challenger("2")
    who = {"who": "ana", "reason": "clearly better"}
    assert run("promote_model", "promote_version", version="2", **who).success
    assert str(mlflow.client().get_model_version_by_alias(MODEL_NAME, "champion").version) == "2"
    assert "only a challenger becomes" in failure(run("promote_model", "promote_version", version="1", **who))
    assert "says who and why" in failure(run("roll_back_model", "roll_back_version", version="2", who="ana", reason=""))
    assert run("roll_back_model", "roll_back_version", version="2", **who).success
    assert run("roll_back_model", "roll_back_version", version="1", **who).success
    assert "says who" in failure(run("lift_freeze", "lift_promotion_freeze", login=UNAUTHENTICATED, reason="calm"))
    assert run("lift_freeze", "lift_promotion_freeze", login="olga", **who).success  # whatever was typed
    mlflow.client().set_registered_model_alias(MODEL_NAME, "challenger", "4")
    result = run("registry_reconciliation")
    (event,) = result.asset_materializations_for_node("reconciled_registry")
    assert event.metadata["changed"].value == "- alias challenger: 4 → none"
    assert event.metadata["champion"].value == "none: the heuristic ranker serves"
    assert life.rows("SELECT transition, actor FROM litgo.model_ledger ORDER BY sequence DESC LIMIT 4") == [
        ("freeze_lifted", "olga"),
        ("rolled_back", "ana (unauthenticated)"),
        ("rolled_back", "ana (unauthenticated)"),
        ("champion", "ana (unauthenticated)"),
    ]
