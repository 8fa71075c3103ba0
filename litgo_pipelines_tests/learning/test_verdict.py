"""What becomes of a candidate by the gate's verdict, with the ledger's state as it may be."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from litgo_pipelines.database import Cursor
from litgo_pipelines.learning import evaluation, retrainings
from litgo_pipelines.lifecycle.states import COOLDOWN
from litgo_pipelines.matching import calibration
from litgo_pipelines.matching.allocation import Rule
from litgo_pipelines.models.ranking import Ranker
from litgo_pipelines_tests.worlds.lifecycle import AT, Life
from litgo_pipelines_tests.worlds.replay import END, marketplace

pytestmark = pytest.mark.slow


@pytest.fixture
def life(database_url: str) -> Life:
    return Life(database_url)


def verdict(outcome: str) -> dict[str, Any]:
    return {"decision": {"outcome": outcome, "reasons": [f"it {outcome}"]}, "baseline": "b", "snapshot_sha256": "s"}


def judge(life: Life, version: str, outcome: str = "passed", *, experiments: bool = True, fairness: Any = None) -> str:
    """A candidate of a retraining named after its version, and its verdict."""

    def work(cursor: Cursor) -> str:
        root = f"root {version}"
        retrainings.begin(cursor, root, AT)
        retrainings.record_step(cursor, root, mlflow_version=version)
        cursor.execute(
            "UPDATE litgo.retrainings SET started_at = %s WHERE root_run_id = %s",
            (AT + timedelta(days=int(version)), root),
        )
        row = retrainings.get(cursor, root)
        result: Any = verdict(outcome) | ({"fairness": fairness} if fairness else {})
        return evaluation.record_verdict(cursor, row, result, life.at, "run", experiments=experiments)

    if version not in life.state().stages:
        life.candidate(version)
    return life.do(work)


def waiting(life: Life) -> str | None:
    return life.do(evaluation.candidate_to_promote, life.at, experiments=True)


def test_the_first_to_pass_becomes_champion_and_the_next_challenger(life: Life) -> None:
    assert judge(life, "1") == "champion"
    assert judge(life, "2") == "challenger"
    assert judge(life, "2", "rejected") == "challenger already"
    assert judge(life, "3", "rejected") == "archived"
    assert judge(life, "4", "not_enough_evidence") == "candidate: not enough evidence"
    assert life.state().stages == {"1": "champion", "2": "challenger", "3": "archived", "4": "candidate"}
    assert life.rows("SELECT actor, reason FROM litgo.model_ledger WHERE version = '3' ORDER BY sequence DESC") == [
        ("gate", "it rejected"),
        ("test", "because"),
    ]
    assert waiting(life) is None


def test_without_experiments_the_champion_is_replaced(life: Life) -> None:
    judge(life, "1")
    assert judge(life, "2", experiments=False) == "champion"
    assert life.state().previous == "1"


def test_those_that_passed_wait_for_the_place_newest_first(life: Life) -> None:
    judge(life, "1")
    judge(life, "2")
    assert judge(life, "3").startswith("candidate, waits to become challenger: version 2 is the open challenger")
    judge(life, "4")
    assert waiting(life) is None
    life.archived("2")
    assert waiting(life) == "root 4"
    assert judge(life, "4", "rejected") == "archived"  # the champion may be another one by now
    assert waiting(life) == "root 3"
    life.rolled_back("1", None)
    assert waiting(life) is None
    assert "cooldown" in judge(life, "3")
    life.at += COOLDOWN
    assert waiting(life) == "root 3"
    assert judge(life, "3") == "champion"


def test_while_none_serves_the_next_to_pass_waits_for_the_challengers_experiment(life: Life) -> None:
    judge(life, "1")
    judge(life, "2")
    life.rolled_back("1", None)
    life.at += COOLDOWN
    assert judge(life, "3").startswith("candidate, waits to become champion: version 2 is the open challenger")
    assert waiting(life) is None
    life.archived("2")
    assert waiting(life) == "root 3"
    assert judge(life, "3") == "champion"


def test_how_much_fresher_a_candidate_is_follows_from_both_snapshots(life: Life) -> None:
    judge(life, "1")
    days = timedelta(days=1)
    assert life.do(evaluation._freshness, AT + 40 * days, "7", AT + 41 * days) is None  # trained elsewhere
    found = life.do(evaluation._freshness, AT + 40 * days, "1", AT + 41 * days)
    assert (found.newer_days, found.champion_days) == (40, 41)


def test_an_earlier_verdict_is_found(life: Life) -> None:
    assert life.do(evaluation.earlier, "1") is None
    judge(life, "1", "not_enough_evidence")
    assert life.do(evaluation.earlier, "1") == verdict("not_enough_evidence")


@pytest.mark.parametrize(("largest", "kept"), [(30, "%"), (5, "–")])  # in pools of five nobody has a choice
def test_what_passed_goes_into_service_with_the_lambda_it_was_judged_with(life: Life, largest: int, kept: str) -> None:
    cases, lawyers = marketplace(9, n=50, cases=500, largest=largest)
    rankers = [Ranker(), Ranker(version="1")]
    window = calibration.Window(datetime.fromtimestamp(END, UTC), rankers, [cases, cases], lawyers, 1.0)
    fairness = evaluation._fairness(window, [Rule(), Rule()])
    assert fairness["candidate"]["gini"] <= fairness["baseline"]["gini"]
    assert evaluation.fairness_table(fairness).count("\n") == 3
    assert evaluation.fairness_table(fairness).count(kept) == 2
    assert judge(life, "1", fairness=fairness) == "champion"
    judge(life, "1", fairness=fairness)
    assert life.rows("SELECT coalesce(model_version, ''), lambda FROM litgo.allocation_parameters ORDER BY 1") == [
        ("", fairness["baseline"]["lambda"]),
        ("1", fairness["candidate"]["lambda"]),
    ]
