"""Cutoffs on a real Postgres: what is counted, what is decided, and that it is decided once."""

import json
import threading
import uuid
from datetime import datetime, timedelta
from typing import Any

import psycopg2.extras
import pytest

from litgo_pipelines.database import Cursor
from litgo_pipelines.experiments import assignment, cutoffs, store
from litgo_pipelines.experiments.decision import Cutoff, ExperimentOutcome, ExperimentRules, decide_experiment
from litgo_pipelines.experiments.store import ExperimentPlan
from litgo_pipelines.lifecycle import ledger, transitions
from litgo_pipelines_tests.worlds.experiments import DAY, MINUTES, PLAN, Lab
from litgo_pipelines_tests.worlds.lifecycle import Life
from litgo_pipelines_tests.worlds.processes import kill_self, killed
from litgo_pipelines_tests.worlds.sessions import kept


@pytest.fixture
def lab(life: Life) -> Lab:
    return Lab(life)


@pytest.fixture
def better(lab: Lab) -> Lab:
    lab.expose(2000, {"treatment": 0.5, "control": 0.3})
    return lab


def test_a_better_model_is_promoted_and_the_decision_can_be_replayed(better: Lab) -> None:
    life = better.life
    first = better.closed(1)
    assert first.decision.outcome is ExperimentOutcome.KEEP_RUNNING
    life.do(
        lambda c: c.execute(
            "INSERT INTO litgo.equity_history (night, lawyer_id, as_of, cases_30d, capacidade_mensal, offers_30d, "
            "load) VALUES ('2026-01-01', md5('lawyer 1')::uuid, '2026-01-02', 0, 30, 0, 0)"
        )
    )
    closed = better.closed(20)
    assert (closed.decision.outcome, closed.ended, closed.held) == (ExperimentOutcome.PROMOTE, "promote", None)
    assert (life.state().champion, life.state().previous) == ("2", "1")
    entry = life.do(ledger.current_champion)
    assert (entry.transition_key, entry.actor, entry.evidence["experiment_id"]) == (
        "champion ranker-v2",
        "experiments",
        "ranker-v2",
    )
    assert better.ends() == [("ranker-v2", "promote")]
    assert life.rows("SELECT kind FROM litgo.outbox ORDER BY message_id DESC LIMIT 1") == [("model_promoted",)]
    assert better.tick(30) is None
    assert life.do(store.running_experiment) is None
    rules = ExperimentRules.from_dict(life.rows("SELECT spec -> 'rules' FROM litgo.experiments")[0][0])
    stored = life.rows("SELECT statistics, decision FROM litgo.experiment_cutoffs ORDER BY cutoff")
    assert len(stored) == 2
    for statistics, decision in stored:
        assert json.loads(json.dumps(decide_experiment(Cutoff.from_dict(statistics), rules).as_dict())) == decision
    assert [analysis.clients for analysis in closed.cutoff.gini_analyses] == [1000, 2000]
    assert closed.cutoff.gini_analyses == first.cutoff.gini_analyses  # taken once, carried over


def test_a_worse_model_is_archived(lab: Lab) -> None:
    lab.expose(2000, {"treatment": 0.15, "control": 0.3})
    closed = lab.closed(20)
    assert (closed.decision.outcome, closed.ended) == (ExperimentOutcome.ROLL_BACK, "roll_back")
    state = lab.life.state()
    assert (state.champion, state.stages["2"], state.challenger) == ("1", "archived", None)
    assert lab.life.rows("SELECT kind, severity FROM litgo.alerts ORDER BY alert_id DESC LIMIT 1") == [
        ("experiment_ended", "warning")
    ]


def test_arms_that_the_split_does_not_explain_halt_it_and_the_team_is_told(lab: Lab) -> None:
    lab.expose(2000, {"treatment": 0.5, "control": 0.3}, lost=0.3)
    assert lab.closed(1).ended == "halt"
    assert lab.life.state().stages["2"] == "archived"
    assert lab.life.rows("SELECT payload ->> 'experiment' FROM litgo.outbox WHERE kind = 'experiment_halted'") == [
        ("ranker-v2",)
    ]
    assert lab.life.rows("SELECT severity FROM litgo.alerts WHERE kind = 'experiment_halted'") == [("critical",)]


def test_only_final_outcomes_count_and_late_ones_from_the_next_cutoff_on(lab: Lab) -> None:
    lab.expose(300)
    (arm,) = lab.closed(13.9).cutoff.phases[:1]
    assert (arm.control.exposed + arm.treatment.exposed, arm.control.mature, arm.treatment.conversions) == (300, 0, 0)
    assert lab.tick(13.9) is None  # closed already
    first = lab.closed(14.5)
    before = sum(first.decision.conversions)
    ((accepted,),) = lab.life.rows("SELECT count(*) FROM offers WHERE status = 'interested'")
    assert (sum(first.decision.mature), before) == (300, accepted)
    lab.life.do(
        lambda c: c.execute(
            "UPDATE offers SET status = v.status, responded_at = sent_at + v.after FROM (SELECT id, row_number() "
            "OVER () AS n FROM offers WHERE status = 'expired') o JOIN (VALUES (1, 'closed', interval '2 days'), "
            "(2, 'interested', '15 days'), (3, 'declined', '1 day')) v (n, status, after) USING (n) "
            "WHERE offers.id = o.id"
        )
    )
    assert sum(lab.closed(20).decision.conversions) == before + 1  # the second came too late, the third declined
    assert lab.life.rows(
        "SELECT count(*), count(*) FILTER (WHERE event_at < %(c)s - interval '12 days') FROM litgo.experiment_outcomes "
        "WHERE kind = 'accepted' AND seen_at = %(c)s",
        {"c": lab.start + 20 * DAY},
    ) == [(1, 1)]
    sums = first.cutoff.phases[0].control.guardrails
    n = first.cutoff.phases[0].control.mature
    x = first.cutoff.phases[0].control.conversions
    assert (sums["hours_to_accept"].y, sums["hours_to_accept"].clients) == (pytest.approx(5 * x + 336 * (n - x)), n)
    assert (sums["rating"].x, sums["rating"].clients) == (x, n)


def test_a_ramp_moves_nobody_who_was_exposed(life: Life) -> None:
    lab = Lab(life, ExperimentPlan(ramp_clients=1000, holdout_points=500))
    before = lab.expose(1200)
    assert lab.closed(0.5).ramped_to == 5000
    now = life.do(store.running_experiment)
    assert (now.phase, now.treatment_points) == (2, 5000)
    old = life.do(store.arms_of_clients, lab.experiment, before)
    assert life.do(store.arms_of_clients, now, before) == old
    assert {phase for _, phase in old} == {1}
    moved = [assignment.assign(now.assignment, client) for client in before]
    assert sum(a != b for a, (b, _) in zip(moved, old, strict=True)) > 100  # without the stored arm
    new = [str(uuid.uuid4()) for _ in range(1000)]
    arms = life.do(store.arms_of_clients, now, new)
    held = [client for client, (arm, _) in zip(new, arms, strict=True) if arm is None]
    assert held == [client for client in new if store.in_holdout(client, 500)]
    assert 400 < sum(arm == "treatment" for arm, _ in arms) < 550
    lab.expose(300, days=1)
    first, second = lab.closed(2).cutoff.phases
    assert (first.fraction, second.fraction) == (0.1, 0.5)
    assert first.treatment.exposed + first.control.exposed == len(before)
    assert second.treatment.exposed > 100
    assert lab.closed(3).ramped_to is None


def test_two_evaluators_make_one_decision(better: Lab) -> None:
    barrier, found = threading.Barrier(2), []

    def evaluate() -> None:
        barrier.wait()
        found.append(better.tick(20))

    threads = [threading.Thread(target=evaluate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [closed.ended for closed in found if closed] == ["promote"]
    assert len(found) == 2
    assert better.life.rows("SELECT count(*) FROM litgo.experiment_cutoffs") == [(1,)]


def killed_tick(url: str, at: datetime, module: Any, name: str) -> None:
    """An evaluation that is killed when it has called this function."""
    real = getattr(module, name)

    def dying(*arguments: Any, **named: Any) -> None:
        real(*arguments, **named)
        kill_self()

    setattr(module, name, dying)
    with kept(url) as connection, connection, connection.cursor() as cursor:
        cutoffs.close_cutoff(cursor, at, MINUTES, "killed")


def killed_after_promoting(url: str, at: datetime) -> None:
    killed_tick(url, at, transitions, "promote")


def killed_after_carrying_out(url: str, at: datetime) -> None:
    killed_tick(url, at, cutoffs, "_carry_out")


@pytest.mark.slow
def test_killed_anywhere_nothing_happened_and_the_next_run_decides_the_same(better: Lab) -> None:
    for somewhere in (killed_after_promoting, killed_after_carrying_out):
        killed(somewhere, better.url, better.start + 20 * DAY)
        assert better.life.state().champion == "1"
        for table in ("outcomes", "cutoffs", "ends"):
            assert better.life.rows(f"SELECT count(*) FROM litgo.experiment_{table}") == [(0,)]
    assert better.closed(20).ended == "promote"


def test_a_promotion_the_ledger_refuses_is_held_until_it_may_be(better: Lab) -> None:
    life = better.life

    def forge(cursor: Cursor) -> None:  # version 1 rolled back twice and serving all the same: nothing may go up
        for transition in ("rolled_back", "champion") * 2:
            head = ledger.head(cursor)
            ledger.append(
                cursor,
                transition,
                f"forged {head}",
                "1",
                {},
                "run",
                head,
                actor="a",
                reason="r",
                at=better.start + 19 * DAY,
            )

    life.do(forge)
    for _ in range(2):
        days = 20 if better.tick(20) else 20.1
    closed = better.closed(days + 0.1)
    assert closed.decision.outcome is ExperimentOutcome.PROMOTE
    assert "frozen" in (closed.held or "")
    assert (better.ends(), life.state().champion) == ([], "1")
    assert life.rows("SELECT count(*) FROM litgo.alerts WHERE kind = 'promotion_held'") == [(1,)]
    life.do(transitions.lift_freeze, ledger.Actor("ana", "looked at it", better.start + 21 * DAY, "", by_hand=True))
    assert better.closed(22).ended == "promote"
    assert life.state().champion == "2"


def test_an_experiment_whose_control_serves_no_longer_begins_again_against_what_does(better: Lab) -> None:
    life = better.life
    life.rolled_back("1", None)
    closed = better.closed(20)
    assert (closed.decision.outcome, closed.ended) == (ExperimentOutcome.PROMOTE, "stopped")
    assert (life.state().champion, life.state().challenger) == (None, "2")
    assert life.rows("SELECT reason FROM litgo.experiment_ends") == [
        ("what serves is now the heuristic ranker, the experiment compares with version 1",)
    ]
    (told,) = life.rows("SELECT text FROM litgo.alerts WHERE kind = 'experiment_ended'")
    assert "version 2 is tried again" in told[0]
    (rolled_back,) = life.rows("SELECT max(recorded_at) FROM litgo.model_ledger")[0]
    assert life.do(store.start_for_challenger, PLAN, rolled_back + 0.9 * DAY, "run") is None  # cooldown
    again = life.do(store.start_for_challenger, PLAN, rolled_back + DAY, "run")
    assert (again.experiment, again.control, again.treatment) == ("ranker-v2-2", None, "2")


@pytest.mark.parametrize("tried", [True, False])
def test_what_learned_from_a_quarantined_snapshot_is_not_tried_again(life: Life, tried: bool) -> None:
    life.champion("1")
    for version, data in {"2": "data 1", "3": "data 1", "4": "data 4"}.items():
        life.candidate(version, data=data)
    life.do(transitions.challenge, "2", {}, life.by("passed the gate"))
    if tried:
        assert life.do(store.start_for_challenger, PLAN, life.at, "run")
    life.rolled_back("1", None)
    stages = life.state().stages
    assert stages == {"1": "quarantined", "2": "archived", "3": "archived", "4": "candidate"}
    assert life.do(cutoffs.cutoff_due, life.at + DAY, MINUTES) is tried
    if tried:
        assert life.do(cutoffs.close_cutoff, life.at + DAY, MINUTES, "run").ended == "stopped"


def test_what_cannot_be_read_raises_and_writes_nothing(better: Lab) -> None:
    better.life.do(lambda c: c.execute("ALTER VIEW litgo_source.reviews RENAME COLUMN rating TO stars"))
    with pytest.raises(psycopg2.errors.UndefinedColumn):
        better.tick(20)
    assert better.life.rows("SELECT count(*) FROM litgo.experiment_outcomes") == [(0,)]


def test_what_is_due(life: Life) -> None:
    def due(at: datetime, **named: Any) -> bool:
        return life.do(cutoffs.cutoff_due, at, MINUTES, **named)

    assert not due(life.at)
    life.champion("1")
    life.challenger("2")
    assert due(life.at)
    assert not due(life.at, starts=False)
    started = life.do(store.start_for_challenger, PLAN, life.at, "run")
    assert started is not None
    assert life.do(store.start_for_challenger, PLAN, life.at, "run") is None
    minute = timedelta(minutes=1)
    assert not due(started.started_at + 14 * minute)
    assert due(started.started_at + 40 * minute)
    closed = life.do(cutoffs.close_cutoff, started.started_at + 40 * minute, MINUTES, "run")
    assert closed.cutoff.at == started.started_at + 30 * minute  # the one before it is an analysis not made
    assert not due(started.started_at + 44 * minute)
    assert due(started.started_at + 45 * minute)
    life.rolled_back("1", None)
    life.do(cutoffs.close_cutoff, started.started_at + 45 * minute, MINUTES, "run")
    assert life.state().challenger == "2"
    assert not due(life.at)  # cooldown
    assert due(life.at + DAY)  # tried again
    life.archived("2")
    life.at += DAY
    life.champion("3")
    life.challenger("4")
    assert due(life.at)
    life.rolled_back("3", None)  # frozen: the challenger waits
    assert not due(life.at + 2 * DAY)
    assert life.do(store.start_for_challenger, PLAN, life.at + 2 * DAY, "run") is None
