"""The quality monitor on a real Postgres: whom it blames, and that it takes back once."""

import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest

from litgo_pipelines.automation import asset_job
from litgo_pipelines.database import Cursor
from litgo_pipelines.experiments import store
from litgo_pipelines.jobs import JOBS
from litgo_pipelines.lifecycle import actions, ledger
from litgo_pipelines.monitoring import assets as monitor_assets
from litgo_pipelines.monitoring import check as monitor
from litgo_pipelines.monitoring.check import MonitorMemory, MonitorTick, Reference, judge
from litgo_pipelines.monitoring.rules import Counts, Observation
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.worlds.lifecycle import AT, Life
from litgo_pipelines_tests.worlds.monitoring import DAY, HOUR, LIMITS, Market
from litgo_pipelines_tests.worlds.processes import kill_self, killed
from litgo_pipelines_tests.worlds.sessions import kept


@pytest.fixture
def market(life: Life, mlflow: MLflow, tmp_path: Path) -> Market:
    return Market(life, mlflow, tmp_path / "served")


def test_a_healthy_champion_serves_and_one_that_lost_half_is_taken_back_once(market: Market) -> None:
    life, start = market.life, market.start
    market.requests("2", start, 48, 60, 0.2)
    market.requests("2", start + 48 * HOUR, 48, 60, 0.1)
    found, ticks = market.watch(start, 71)
    assert found is None
    assert {tick.check.decision for tick in ticks if tick.check} == {"serves"}
    (reference,) = life.rows("SELECT reference FROM litgo.quality_references")[0]
    assert (reference["source"], reference["outcomes"]) == ("its own cases before it served", 1000)
    assert 0.17 < reference["rate"] < 0.2
    found, ticks = market.watch(start + 71 * HOUR, 25, HOUR / 4)
    assert found is not None
    assert found - (start + 72 * HOUR) < 12 * HOUR  # outcomes are final a day after the request
    assert ticks[-1].rolled_back == ("2", "1")
    assert life.state().champion == "1"
    assert life.state().stages["2"] == "quarantined"
    entry = life.rows(
        "SELECT actor, transition_key, reason, evidence ->> 'kind' FROM litgo.model_ledger "
        "ORDER BY sequence DESC LIMIT 1"
    )[0]
    assert entry[:2] == ("quality monitor", f"rolled_back quality {monitor_episode(life)}")
    assert (entry[2][:12], entry[3]) == ("success fell", "cusum")
    assert life.rows("SELECT kind, severity FROM litgo.alerts ORDER BY alert_id DESC LIMIT 1") == [
        ("model_rolled_back", "warning")
    ]
    assert life.rows("SELECT payload ->> 'previous' FROM litgo.outbox ORDER BY message_id DESC LIMIT 1") == [("1",)]
    # every outcome was counted once, whatever the checks' instants
    assert life.rows("SELECT sum(outcomes) FROM litgo.quality_checks WHERE version = '2'") == life.rows(
        "SELECT count(*) FROM litgo.exposures WHERE model_version = '2' AND exposed_at > %s AND exposed_at <= %s",
        (start, found - DAY),
    )
    for table in ("quality_checks", "quality_references", "quality_incidents", "quality_incident_ends"):
        with pytest.raises(psycopg2.errors.RaiseException, match="append-only"):
            life.do(lambda c, table=table: c.execute(f"DELETE FROM litgo.{table}"))


def monitor_episode(life: Life) -> int:
    """The entry that version 2's stay in service began with."""
    ((sequence,),) = life.rows(
        "SELECT sequence FROM litgo.model_ledger WHERE transition = 'champion' AND version = '2'"
    )
    return int(sequence)


def test_an_answer_counts_only_until_the_outcome_is_final(market: Market) -> None:
    start = market.start
    market.requests("2", start, 10, 10, 0.3, after=25 * HOUR)  # all too late
    market.requests("2", start, 10, 10, 0.3, after=23 * HOUR)
    assert market.tick(start + 24 * HOUR).check is not None
    check = market.tick(start + 34 * HOUR).check
    assert check is not None
    assert check.seen.new == Counts(200, 30)
    assert market.tick(start + 40 * HOUR) == MonitorTick()


def test_a_fall_that_hits_the_holdout_too_is_not_the_models_fault(market: Market) -> None:
    start = market.start
    for version, arm, hourly in (("2", None, 60), ("1", "holdout", 20)):
        market.requests(version, start, 24, hourly, 0.2, arm)
        market.requests(version, start + 24 * HOUR, 48, hourly, 0.1, arm)
    found, ticks = market.watch(start + 24 * HOUR, 72, 2 * HOUR)
    assert found is None
    assert {tick.check.decision for tick in ticks if tick.check} == {"serves", "excused"}
    excused = next(tick.check for tick in ticks if tick.check and tick.check.decision == "excused")
    assert "speaks for the demand" in monitor.decision_text(excused)
    # then the holdout gets well again and the model does not
    market.requests("2", start + 72 * HOUR, 72, 60, 0.1)
    market.requests("1", start + 72 * HOUR, 72, 20, 0.2, "holdout")
    assert market.watch(start + 96 * HOUR, 72, 2 * HOUR)[0] is not None


def test_a_holdout_that_does_worse_beside_the_champion_than_before_excuses_nothing_for_long(market: Market) -> None:
    """The champion takes the good lawyers: .1 instead of .2 is what the holdout's ranker reaches from now on."""
    start = market.start
    market.requests("1", start, 6 * 24, 5, 0.1, "holdout")
    market.requests("2", start, 4 * 24, 60, 0.2)
    market.requests("2", start + 4 * DAY, 2 * 24, 60, 0.12)
    found, ticks = market.watch(start, 5 * 24, 2 * HOUR)
    assert found is None
    rates = [t.check.reference.control_rate or 0.0 for t in ticks if t.check and t.check.reference]
    assert rates[0] > 0.16
    assert rates[-1] < 0.12
    assert max(tick.check.after.control_cusum for tick in ticks if tick.check) > monitor.EXCUSED_FROM
    found, _ = market.watch(start + 5 * DAY, 2 * 24, 2 * HOUR)
    assert found is not None


def test_a_drop_without_a_holdout_is_the_models(market: Market) -> None:
    market.requests("2", market.start, 48, 60, 0.1)
    assert market.watch(market.start + 24 * HOUR, 24)[0] is not None


def test_without_a_previous_the_hand_weights_serve(market: Market) -> None:
    market.life.rolled_back("2", "1")
    market.break_now(market.life.at + 50 * HOUR)
    done = market.tick(market.life.at + 50 * HOUR)
    assert done.rolled_back == ("1", None)
    life = market.life
    assert life.do(ledger.current_champion) is None
    assert [row[0] for row in life.rows("SELECT severity FROM litgo.alerts ORDER BY alert_id DESC LIMIT 2")] == [
        "critical",
        "critical",
    ]
    assert market.tick(life.at + 60 * HOUR) == MonitorTick()


def test_a_second_rollback_in_a_week_freezes_and_the_first_holds_promotion_for_a_day(market: Market) -> None:
    life = market.life
    life.champion("3")
    first = life.at + 40 * HOUR
    market.break_now(first)
    assert market.tick(first).rolled_back == ("3", "2")
    life.at = first
    with pytest.raises(ledger.Refused, match="cooldown"):
        life.champion("4")
    second = first + 40 * HOUR
    market.break_now(second)
    assert market.tick(second).rolled_back == ("2", "1")
    assert "two rollbacks" in (life.state().frozen or "")
    assert life.rows("SELECT count(*) FROM litgo.quality_incident_ends WHERE outcome = 'rolled_back'") == [(2,)]


def killed_at_the_rollback(url: str, at: datetime, store: str, folder: Path, when: str) -> None:
    """A monitor that is killed instead of taking back, or when it has."""
    real = actions.roll_back_champion

    def dying(*arguments: Any, **named: Any) -> None:
        if when == "after":
            real(*arguments, **named)
        kill_self()

    actions.roll_back_champion = dying  # type: ignore[assignment]
    with kept(url) as connection:
        monitor.check_and_act(connection, MLflow(tracking_uri=store), folder, at, LIMITS, "killed")


@pytest.mark.parametrize("when", ["before", pytest.param("after", marks=pytest.mark.slow)])
def test_killed_around_the_rollback_the_next_one_finishes_it_once(market: Market, when: str) -> None:
    life, at = market.life, market.start + 40 * HOUR
    market.break_now(at)
    killed(killed_at_the_rollback, life.url, at, market.mlflow.tracking_uri, market.folder, when)
    assert (market.count("quality_incidents"), market.count("quality_incident_ends")) == (1, 0)
    assert life.state().champion == ("2" if when == "before" else "1")
    head = life.do(ledger.head)
    assert market.tick(at).rolled_back == ("2", "1")  # also at the same instant
    assert life.do(ledger.head) == head + (when == "before")
    assert market.tick(at + HOUR).rolled_back is None
    assert (life.state().champion, market.count("quality_incident_ends")) == ("1", 1)
    assert life.rows("SELECT count(*) FROM litgo.alerts WHERE kind = 'model_rolled_back'") == [(1,)]


def test_two_monitors_at_once_take_back_once(market: Market) -> None:
    at = market.start + 40 * HOUR
    market.break_now(at)
    barrier, done = threading.Barrier(2), []

    def look(number: int) -> None:
        barrier.wait()
        done.append(market.tick(at + number * timedelta(seconds=1), f"run {number}"))

    threads = [threading.Thread(target=look, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 2
    assert {tick.rolled_back for tick in done} <= {("2", "1"), None}
    assert market.life.state().champion == "1"
    assert market.life.rows("SELECT count(*) FROM litgo.model_ledger WHERE transition = 'rolled_back'") == [(1,)]


def test_a_person_who_is_faster_is_not_done_again(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    at = market.start + 40 * HOUR
    market.break_now(at)
    real = actions.roll_back_champion

    def late(*arguments: Any) -> ledger.Entry:
        market.life.rolled_back("2", "1")
        return real(*arguments)

    monkeypatch.setattr(actions, "roll_back_champion", late)
    assert market.tick(at).rolled_back is None
    assert market.life.state().champion == "1"
    assert market.life.rows("SELECT outcome, sequence FROM litgo.quality_incident_ends") == [("superseded", None)]


def test_the_experiment_that_compares_with_it_ends_first(market: Market) -> None:
    life = market.life
    life.challenger("3")
    life.do(store.start, "3", store.ExperimentPlan(), life.by())
    at = life.at + 40 * HOUR
    market.break_now(at)
    assert market.tick(at).rolled_back == ("2", "1")
    assert life.do(store.running_experiment) is None
    assert life.state().challenger == "3"  # to be tried against what serves now
    assert life.rows("SELECT outcome, actor FROM litgo.experiment_ends") == [("stopped", "quality monitor")]


def test_requests_the_model_cannot_rank_are_seen_at_once_and_an_outage_is_not_its_fault(market: Market) -> None:
    start = market.start
    market.requests("2", start, 3, 60, 0.2)
    market.ranked("2", "2", start, start + HOUR)
    market.ranked(None, None, start + HOUR, start + 2 * HOUR)  # the registry was down
    for hours, requests in ((1, 60), (2, 0)):
        check = market.tick(start + hours * HOUR).check
        assert check is not None
        assert (check.decision, check.seen.requests, check.seen.errors) == ("serves", requests, 0)
    market.ranked("2", "2", start + 2 * HOUR, start + 2.5 * HOUR)
    market.ranked("2", None, start + 2.5 * HOUR, start + 3 * HOUR)  # broke in the middle
    done = market.tick(start + 3 * HOUR)
    assert done.check is not None
    assert (done.check.seen.requests, done.check.seen.errors) == (60, 30)
    assert [alarm.kind for alarm in done.check.alarms] == ["errors"]
    assert done.rolled_back == ("2", "1")


def test_a_model_that_cannot_be_used_at_all_is_seen_by_what_is_counted(market: Market) -> None:
    start = market.start
    market.requests("2", start, 2, 60, 0.2)
    market.ranked("2", "2", start, start + HOUR)
    assert market.tick(start + HOUR).rolled_back is None
    market.ranked(None, None, start + HOUR, start + 2 * HOUR)
    market.life.do(
        lambda c: c.execute(
            "INSERT INTO litgo.metric_state VALUES ('ranker_fallback_total', '{\"reason\": \"broken\"}', 3)"
        )
    )
    assert market.tick(start + 2 * HOUR).rolled_back == ("2", "1")


def test_features_that_vanish_are_seen_in_three_checks(market: Market) -> None:
    start = market.start
    market.requests("2", start - 2 * HOUR, 5, 60, 0.2)
    market.ranked("2", "2", start - 2 * HOUR, start, '[{"imputed": ["S"]}, {"imputed": ["S"]}]')
    market.ranked("2", "2", start, start + HOUR, '[{"imputed": ["S", "T"]}]')
    assert market.tick(start + HOUR).rolled_back is None
    market.ranked("2", "2", start + HOUR, start + 3 * HOUR, '[{"imputed": ["S", "T", "Q", "R"]}]')
    found, ticks = market.watch(start + 2 * HOUR, 1, timedelta(minutes=5))
    assert found == start + 2 * HOUR + timedelta(minutes=15)
    assert [alarm.kind for alarm in ticks[-1].check.alarms] == ["null_features"]  # type: ignore[union-attr]


def test_a_single_odd_case_in_a_quiet_hour_is_no_alarm(market: Market) -> None:
    start = market.start
    market.requests("2", start - 20 * HOUR, 10, 60, 0.2)
    market.ranked("2", "2", start - 20 * HOUR, start, '[{"imputed": ["S"]}]')
    market.requests("2", start, 1 / 12, 12, 0.2)
    market.ranked("2", "2", start, start + HOUR, '[{"imputed": ["S", "T", "Q", "R"]}]')
    for number in range(1, 5):
        at = start + number * HOUR / 12
        market.requests("1", at - HOUR / 24, 1 / 60, 60, 0.2, "holdout")  # so that there is something to see
        check = market.tick(at).check
        assert check is not None
        assert (check.decision, check.seen.requests) == ("serves", 1)


def test_a_version_without_any_past_learns_its_reference_in_service(life: Life, mlflow: MLflow, tmp_path: Path) -> None:
    market = Market(life, mlflow, tmp_path)
    life.champion("3")
    life.do(lambda c: c.execute("TRUNCATE litgo.exposures; DELETE FROM offers; DELETE FROM cases"))
    start = life.at
    market.requests("3", start, 30, 20, 0.2)
    check = market.tick(start + 30 * HOUR).check
    assert check is not None
    assert (check.decision, check.reference) == ("learns", None)
    market.tick(start + 35 * HOUR)
    (reference,) = life.rows("SELECT reference FROM litgo.quality_references")[0]
    assert (reference["outcomes"], reference["source"]) == (220, monitor.OWN)
    market.requests("3", start + 30 * HOUR, 40, 20, 0.05)
    found, _ = market.watch(start + 35 * HOUR, 60)
    assert found is not None
    assert found > start + 54 * HOUR


def test_what_cannot_be_read_raises_and_is_no_healthy_model(market: Market) -> None:
    at = market.start + 40 * HOUR
    market.break_now(at)
    market.life.do(lambda c: c.execute("ALTER VIEW litgo_source.offers RENAME COLUMN responded_at TO answered_at"))
    with pytest.raises(psycopg2.errors.UndefinedColumn):
        market.tick(at)
    assert (market.count("quality_checks"), market.count("quality_incidents")) == (0, 0)


def test_a_tick_with_nothing_to_see_costs_one_query(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    executed: list[str] = []

    class Counting:
        def __init__(self, cursor: Cursor) -> None:
            self.cursor = cursor

        def execute(self, statement: str, *values: Any) -> None:
            executed.append(statement)
            self.cursor.execute(statement, *values)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.cursor, name)

    real = monitor.in_transaction
    monkeypatch.setattr(monitor, "in_transaction", lambda c, work: real(c, lambda cursor: work(Counting(cursor))))
    market.requests("2", market.start, 1, 60, 0.2)
    last = market.start + 25 * HOUR
    assert market.tick(last).check is not None
    executed.clear()
    assert market.tick(last + HOUR / 12) == market.tick(last) == MonitorTick()
    assert len(executed) == 2


def test_what_is_certain_needs_no_excuse_and_replays_from_rows(market: Market) -> None:
    """The holdout's own signs excuse an alarm against the reference, not one against the holdout itself."""
    reference = Reference(0.2, 0.2, None, 24, 1000, "test")
    fallen = MonitorMemory(control_cusum=2.0)
    both = Counts(400, 40, 400, 40)
    seen = Observation(AT, both, both, both)
    after, decision, alarms = judge(fallen, seen, reference, LIMITS)
    assert (decision, {alarm.kind for alarm in alarms}) == ("excused", {"window"})
    assert after.control_cusum > 2
    worse = Counts(400, 10, 400, 80)
    _, decision, alarms = judge(fallen, Observation(AT, worse, worse, worse), reference, LIMITS)
    assert decision == "roll_back"
    assert "control" in alarms[0].reason
    market.requests("2", market.start, 24, 60, 0.2)
    check = market.tick(market.start + 30 * HOUR).check
    ((stored, state),) = market.life.rows("SELECT observation, state FROM litgo.quality_checks")
    assert check is not None
    assert MonitorMemory.from_dict(state) == check.after
    counts = {name: Counts(**stored[name]) for name in ("new", "hour", "day")}
    again = Observation(**{**stored, **counts, "at": datetime.fromisoformat(stored["at"])})
    assert judge(MonitorMemory(), again, check.reference, LIMITS) == (check.after, check.decision, check.alarms)


def test_the_asset_and_its_check(market: Market, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LITGO_HOME", str(tmp_path))
    resources = {"postgres": Postgres(url=market.life.url), "mlflow": market.mlflow}
    defs = dg.Definitions(
        assets=[*monitor_assets.assets, dg.AssetSpec("case_offers"), dg.AssetSpec("offers")],
        asset_checks=monitor_assets.checks,
        jobs=[asset_job(JOBS["quality_checks"])],
        resources=resources,
    )

    def run(at: datetime) -> tuple[dict[str, Any], dg.AssetCheckEvaluation]:
        result = defs.resolve_job_def("quality_checks").execute_in_process(
            run_config={"ops": {"quality_monitor": {"config": {"as_of": at.isoformat()}}}}
        )
        (event,) = result.asset_materializations_for_node("quality_monitor")
        (check,) = result.get_asset_check_evaluations()
        return {name: value.value for name, value in event.metadata.items()}, check

    shown, check = run(market.start)
    assert shown["decision"].startswith("nothing to see")
    assert check.description == "no check was made yet"
    market.requests("2", market.start, 24, 60, 0.2)
    market.requests("1", market.start, 24, 6, 0.2, "holdout")
    shown, check = run(market.start + 30 * HOUR)
    assert shown["decision"] == "Version 2 serves as it should."
    assert "| since the last check | 74 of 360 (20.6%) | 9 of 36 (25.0%) |" in shown["counts"]
    assert shown["rate"].startswith("![rate over time](data:image/png;base64,")
    assert shown["CUSUM"].startswith("![CUSUM")
    assert check.passed
    market.break_now(market.start + 60 * HOUR)
    shown, check = run(market.start + 60 * HOUR)
    assert shown["rolled back"] == "version 2; version 1 serves"
    assert not check.passed
    assert "version 2 roll_back" in (check.description or "")
    assert market.life.rows("SELECT count(*) FROM litgo.quality_incident_ends") == [(1,)]


def test_a_model_that_has_become_slow_is_seen_in_three_checks(market: Market) -> None:
    life, start = market.life, market.start
    market.requests("2", start, 4, 60, 0.2)
    market.ranked("2", "2", start, start + 4 * HOUR)
    slow = "UPDATE litgo.exposures SET ranking_seconds = CASE WHEN exposed_at < %s THEN 0.1 ELSE 3 END"
    life.do(lambda c: c.execute(slow, (start + 2 * HOUR,)))
    found, ticks = market.watch(start + HOUR, 3, timedelta(minutes=5))
    # 5 % of the last hour's requests are slow after three minutes
    assert found == start + 2 * HOUR + timedelta(minutes=15)
    assert [alarm.kind for alarm in ticks[-1].check.alarms] == ["latency"]  # type: ignore[union-attr]
