"""Who is ranked by what while an experiment runs: arms, holdout, resumed batches, models that break."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litgo_pipelines.database import open_connection
from litgo_pipelines.experiments import offer_life, store
from litgo_pipelines.experiments.assignment import assign
from litgo_pipelines.experiments.layers import OFFERS
from litgo_pipelines.lifecycle import transitions
from litgo_pipelines.lifecycle.ledger import Actor
from litgo_pipelines.matching import arm_loads, record
from litgo_pipelines.matching.allocation import Rule
from litgo_pipelines.matching.batch import match_pending
from litgo_pipelines.matching.plan import Plan, read_plan
from litgo_pipelines.matching.serving import Rankers
from litgo_pipelines.matching.work import BatchResult
from litgo_pipelines.models.ranking import Ranker
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.settings import Settings
from litgo_pipelines_tests.worlds.matching import AS_OF, fill
from litgo_pipelines_tests.worlds.sessions import ask, kept

HOLDOUT = 2_000
BY = Actor("tests", "tried", AS_OF - timedelta(hours=1), "", by_hand=True)


class Column:
    """A model that knows one feature; `breaks`: it does not score."""

    def __init__(self, feature: str, breaks: bool = False) -> None:
        self.feature, self.breaks = feature, breaks

    def predict(self, frame: Any) -> Any:
        if self.breaks:
            raise RuntimeError("no score")
        return frame[self.feature].to_numpy()


class InMemory(Rankers):
    """Versions from a dictionary instead of the registry."""

    def __init__(self, models: dict[str, Any]) -> None:
        super().__init__(MLflow(tracking_uri="none"), Path("none"), holdout_points=HOLDOUT)
        self.models = models

    def version(self, version: str | None) -> Ranker:
        if version is None:
            return Ranker()
        return Ranker(self.models[version], version) if version in self.models else Ranker(fallback="unavailable")


@pytest.fixture
def url(database_url: str) -> str:
    """Version 1 serves, version 2 is tried on half of the clients."""
    fill(database_url, cases=60)
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        for version in ("1", "2"):
            transitions.enter(cursor, version, version, {"snapshot_sha256": version}, BY)
        transitions.promote(cursor, "1", "first", {}, BY)
        transitions.challenge(cursor, "2", {}, BY)
        store.start(cursor, "2", store.ExperimentPlan(5_000, holdout_points=HOLDOUT), BY)
    return database_url


def match(url: str, rankers: Rankers, plan: Plan | None = None) -> list[BatchResult]:
    connection = open_connection(url)
    try:
        return list(match_pending(connection, plan or Plan(), rankers, AS_OF, "a run"))
    finally:
        connection.close()


def exposed(url: str) -> dict[str, tuple[Any, ...]]:
    """Client → experiment, arm, ranker, version."""
    rows = ask(url, "SELECT client_id::text, experiment, arm, ranker, model_version FROM litgo.exposures")
    return {row[0]: row[1:] for row in rows}


def expected(client: str) -> str:
    with_holdout = store.in_holdout(client, HOLDOUT)
    split = store.Experiment("ranker-v2:1", 5_000, holdout_salt=store.HOLDOUT_SALT, holdout_points=HOLDOUT)
    arm = assign(split, client)
    assert (arm is None) == with_holdout
    return arm or "holdout"


def test_each_client_is_ranked_by_the_arm_and_the_arm_is_kept(url: str) -> None:
    (result,) = match(url, InMemory({"1": Column("G"), "2": Column("R")}))
    found = exposed(url)
    assert (len(found), result.matched) == (20, 60)
    shown = {
        "treatment": ("ranker-v2", "treatment", "model", "2"),
        "control": ("ranker-v2", "control", "model", "1"),
        "holdout": (None, "holdout", "hand_weights", None),
    }
    assert found == {client: shown[expected(client)] for client in found}
    arms = ask(url, "SELECT client_id::text, experiment, arm, phase FROM litgo.experiment_arms")
    assert {client: (e, arm, 1) for client, (e, arm, *_) in found.items() if e} == {row[0]: row[1:] for row in arms}
    counts = dict(ask(url, "SELECT arm, count(*) FROM litgo.exposures GROUP BY 1"))
    assert (result.treated, result.held_out) == (counts["treatment"], counts["holdout"])
    scores = ask(
        url,
        "SELECT e.arm, corr(m.raw_score, (m.features ->> 'R')::float8) FROM case_matches m "
        "JOIN litgo.exposures e USING (case_id) WHERE e.arm IN ('treatment', 'control') GROUP BY 1",
    )
    assert dict(scores)["treatment"] > 0.9 > dict(scores)["control"]


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The next batch ends after twenty cases."""
    write, done = record.write, 0

    def dying(*arguments: Any) -> int:
        nonlocal done
        done += 1
        if done > 20:
            raise KeyboardInterrupt
        return write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(record, "write", dying)
        yield patch


def test_a_batch_that_was_killed_goes_on_with_its_arms_after_the_experiment_ended(
    url: str, killed: pytest.MonkeyPatch
) -> None:
    rankers = InMemory({"1": Column("G"), "2": Column("R")})
    with pytest.raises(KeyboardInterrupt):
        match(url, rankers)
    killed.undo()
    with kept(url) as connection, connection, connection.cursor() as cursor:
        store.stop(cursor, Actor("tests", "enough", AS_OF, "", by_hand=True))
    match(url, rankers)
    found = exposed(url)
    assert {client: arm for client, (_, arm, *_) in found.items()} == {client: expected(client) for client in found}
    assert ask(url, "SELECT count(*), count(DISTINCT (client_id, arm)) FROM litgo.exposures") == [(60, 20)]


def test_the_layer_of_offers_decides_how_long_they_wait_and_nothing_else(url: str, killed: pytest.MonkeyPatch) -> None:
    with kept(url) as connection, connection, connection.cursor() as cursor:
        tried = offer_life.start(cursor, 12.0, 24.0, store.ExperimentPlan(5_000, holdout_points=HOLDOUT), BY)
        plan = read_plan(cursor, Settings(offer_urgency_share=1.0))
    assert plan.offers_tried == ("offers-12h", 1)
    rankers = InMemory({"1": Column("G"), "2": Column("R")})
    with pytest.raises(KeyboardInterrupt):
        match(url, rankers, plan)
    killed.undo()
    with kept(url) as connection, connection, connection.cursor() as cursor:
        store.stop(cursor, Actor("tests", "enough", AS_OF, "", by_hand=True), OFFERS)
    match(url, rankers)  # the batch goes on with what it was frozen with
    arms = {
        (e, client): arm
        for e, client, arm in ask(url, "SELECT experiment, client_id::text, arm FROM litgo.experiment_arms")
    }
    waits = ask(
        url,
        "SELECT c.client_id::text, max(c.urgency_h), max(extract(epoch FROM o.expires_at - o.sent_at) / 3600)::float8, "
        "count(DISTINCT o.expires_at - o.sent_at) FROM public.cases c JOIN public.offers o ON o.case_id = c.id "
        "GROUP BY c.id, c.client_id",
    )
    assert len(waits) == 60
    seen = set()
    for client, urgency, hours, terms in waits:
        arm = assign(tried.assignment, client)
        assert (terms, hours) == (1, min(12.0 if arm == "treatment" else 24.0, urgency or 24.0))
        assert arms.get(("offers-12h", client)) == arm
        assert arms.get(("ranker-v2", client)) == (None if arm is None else expected(client))
        seen.add((arms.get(("offers-12h", client)), arms.get(("ranker-v2", client))))
    assert len(seen) == 5  # both arms of both, and the holdout in neither


def test_a_challenger_that_cannot_be_had_gives_the_treated_control_s_offers(url: str) -> None:
    match(url, InMemory({"1": Column("G")}))
    rows = ask(url, "SELECT DISTINCT model_version FROM litgo.exposures WHERE arm IN ('treatment', 'control')")
    assert rows == [("1",)]
    assert ask(url, "SELECT count(*) > 0 FROM litgo.exposures WHERE arm = 'treatment'") == [(True,)]


@pytest.mark.parametrize("models", [{"2": Column("R")}, {"1": Column("G", breaks=True), "2": Column("R")}])
def test_without_a_control_that_ranks_nobody_is_compared(url: str, models: dict[str, Any]) -> None:
    """Neither when it cannot be loaded nor when it breaks: the challenger would be tried against the heuristic."""
    match(url, InMemory(models))
    assert ask(url, "SELECT count(*) FROM litgo.exposures") == [(60,)]
    assert ask(url, "SELECT count(*) FROM litgo.exposures WHERE experiment IS NOT NULL") == [(0,)]
    assert ask(url, "SELECT count(*) FROM litgo.experiment_arms") == [(0,)]


def test_a_challenger_is_tried_against_the_heuristic_ranker_where_no_version_serves(url: str) -> None:
    later = Actor("tests", "worse", BY.at + timedelta(hours=0.5), "", by_hand=True)
    with kept(url) as connection, connection, connection.cursor() as cursor:
        store.stop(cursor, later, void=True)
        transitions.roll_back(cursor, "1", None, "incident", {}, later)
        store.start(cursor, "2", store.ExperimentPlan(5_000, holdout_points=HOLDOUT), later)
    match(url, InMemory({"2": Column("R")}))
    shown = {(arm, *by) for experiment, arm, *by in exposed(url).values() if experiment == "ranker-v2-2"}
    assert shown == {("treatment", "model", "2"), ("control", "hand_weights", None)}


def test_a_challenger_that_breaks_gives_its_place_to_control(url: str) -> None:
    match(url, InMemory({"1": Column("G"), "2": Column("R", breaks=True)}))
    versions = dict(
        ask(url, "SELECT arm, min(model_version) FROM litgo.exposures WHERE experiment IS NOT NULL GROUP BY 1")
    )
    assert versions == {"treatment": "1", "control": "1"}
    assert np.isclose(
        ask(url, "SELECT sum(value) FROM litgo.metric_state WHERE name = 'ranker_fallback_total'")[0][0], 1
    )


def test_each_ranker_has_its_own_lambda_also_after_a_kill(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far apart, so that the lambda used says whose it was: it is the ranker's, or lowered from it."""
    weights = {"1": 0.1, "2": 5.0, "": 1.0, "9": 3.0}
    rankers = InMemory({"1": Column("G"), "2": Column("R")})
    plan = Plan(Rule(keep=0), weights)
    write = record.write
    left = iter(range(20))

    def killed(*arguments: Any) -> int:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(record, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            match(url, rankers, plan)
    match(url, rankers, Plan(Rule(keep=0), dict.fromkeys(weights, 0.5)))  # what was calibrated since is for new batches
    used = ask(
        url,
        "SELECT DISTINCT coalesce(x.model_version, ''), m.lambda FROM litgo.exposures x "
        "JOIN litgo.matchings m USING (case_id, round)",
    )
    assert set(used) == {("1", 0.1), ("2", 5.0), ("", 1.0)}
    assert ask(url, "SELECT DISTINCT parameters -> 'weights' FROM litgo.matching_batches") == [
        ({"1": 0.1, "2": 5.0, "": 1.0},)
    ]
    assert ask(url, "SELECT count(*) FROM litgo.exposures WHERE ranking_seconds > 0") == [(60,)]


def test_an_arm_sees_its_own_offers_as_if_it_had_all_clients(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = match(url, InMemory({"1": Column("G"), "2": Column("R")}), Plan(limit=30))
    assert first.treated > 0
    with kept(url) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT id::text FROM lawyers ORDER BY id")
        ids = [lawyer for (lawyer,) in cursor.fetchall()]
        made = {
            arm: np.array(
                ask(
                    url,
                    "SELECT count(*) FILTER (WHERE x.arm = %s) FROM lawyers l LEFT JOIN offers o "
                    "ON o.lawyer_id = l.id LEFT JOIN litgo.exposures x USING (case_id) "
                    "GROUP BY l.id ORDER BY l.id",
                    (arm,),
                )
            )[:, 0]
            for arm in ("treatment", "control", "holdout")
        }
        before = 7.0 + np.zeros(len(ids))
        shared = before + made["treatment"] + made["control"] + made["holdout"]
        loads = arm_loads.read_arm_loads(cursor, "ranker-v2", ids, shared, AS_OF + timedelta(days=1))
        nobody = arm_loads.read_arm_loads(cursor, None, ids, shared.copy(), AS_OF + timedelta(days=1))
    everybody = np.arange(len(ids))
    both = made["treatment"].sum() + made["control"].sum()
    for arm in ("treatment", "control"):
        expected = before + made["holdout"] + both / made[arm].sum() * made[arm]
        assert loads.of(arm, everybody) == pytest.approx(expected)
        assert loads.of(arm, everybody).sum() == pytest.approx(shared.sum())
    assert (loads.of("holdout", everybody) == shared).all()
    assert (nobody.of("treatment", everybody) == shared).all()
    total = shared[:2].copy()
    seen = loads.of("control", everybody[:2]).copy()
    loads.reserve("treatment", everybody[:2])
    assert loads.of("control", everybody[:2]) == pytest.approx(seen)  # the other arm's offers are not control's
    assert (loads.of(None, everybody[:2]) == total + 1).all()
