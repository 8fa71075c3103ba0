"""The quality monitor: quiet for a healthy model, quick for a broken one, and nothing counted twice."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy.stats import binomtest, fisher_exact

from benchmarks.quality_monitor import simulate
from litgo_pipelines.experiments.e_process import log_e
from litgo_pipelines.monitoring.rules import Counts, MonitorState, Observation, QualityRules, advance, cusum, window_p

START = datetime(2026, 3, 1, tzinfo=UTC)
RULES = QualityRules(reference_rate=0.2)
NOTHING, FRESH = Counts(), MonitorState()


def seen(minutes: int, **fields: object) -> Observation:
    values: dict = {"new": NOTHING, "hour": NOTHING, "day": NOTHING} | fields
    return Observation(START + timedelta(minutes=minutes), **values)


def kinds(observation: Observation, rules: QualityRules = RULES, state: MonitorState = FRESH) -> set[str]:
    return {alarm.kind for alarm in advance(state, observation, rules)[1]}


def test_the_cusum_is_the_likelihood_ratio_since_it_was_last_zero():
    state = MonitorState()
    for minutes, successes in ((5, 0), (10, 3), (15, 0), (20, 0)):
        state, alarms = advance(state, seen(minutes, new=Counts(5, successes)), RULES)
        assert alarms == ()
    assert state.cusum == pytest.approx(2 * 5 * np.log(0.86 / 0.8))  # the three successes had brought it to 0
    assert MonitorState.from_dict(json.loads(json.dumps(state.as_dict()))) == state
    broken, alarms = advance(state, seen(25, new=Counts(180, 0)), RULES)
    assert [alarm.kind for alarm in alarms] == ["cusum"]
    assert broken.cusum > RULES.cusum_limit


def test_against_a_control_it_is_the_e_process_of_one_effect_and_demand_cancels():
    step = cusum(5.0, RULES, 90, 30, 110, 45) - 5.0
    effect = log_e([0.5], [90], [110], [30], [45], rate=0.85 * 0.2, side=-1, sd=0.075, grid=1)  # .3 = 4 · .075
    assert step == pytest.approx(float(effect))
    fallen = seen(5, new=Counts(400, 40, 400, 40), hour=Counts(400, 40, 400, 40), day=Counts(900, 90, 900, 90))
    assert kinds(fallen) == set()
    alone = replace(fallen, new=Counts(400, 40), hour=Counts(400, 40), day=Counts(900, 90))
    assert kinds(alone) == {"window", "floor"}


@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.95, 0.995])
@pytest.mark.parametrize("rate", [0.02, 0.5, 0.75, 0.9, 0.99])
def test_against_a_control_a_fall_shows_whatever_share_is_treated_and_however_many_convert(rate, fraction):
    rules = replace(RULES, reference_rate=rate, fraction=fraction)
    treated, control = 100_000 * fraction, 100_000 * (1 - fraction)
    fallen = cusum(0.0, rules, treated, 0.7 * rate * treated, control, rate * control)
    assert 0 < fallen < np.inf
    assert cusum(0.0, rules, treated, rate * treated, control, rate * control) == 0


def test_a_sum_that_was_lost_begins_anew():
    assert cusum(np.nan, RULES, 10, 0) == cusum(0.0, RULES, 10, 0) > 0


def test_p_values_are_the_exact_ones():
    assert window_p(0.2, 100, 5) == pytest.approx(binomtest(5, 100, 0.2, alternative="less").pvalue)
    table = [[5, 95], [30, 90]]
    assert window_p(0.2, 100, 5, 120, 30) == pytest.approx(fisher_exact(table, alternative="less")[1])


def test_the_hour_needs_a_minimum_and_a_strict_p():
    assert kinds(seen(5, hour=Counts(120, 3))) == {"window"}
    assert kinds(seen(5, hour=Counts(120, 10))) == set()  # p .0006: once in a healthy day
    assert kinds(seen(5, hour=Counts(19, 0)), replace(RULES, window_p=0.5)) == set()
    assert kinds(seen(5, hour=Counts(300, 15, 300, 75))) == {"window"}


def test_the_floor_wants_the_day_to_be_surely_below_it():
    assert kinds(seen(5, day=Counts(1000, 170))) == set()  # at the floor
    assert kinds(seen(5, day=Counts(1000, 140))) == set()  # below, perhaps
    assert kinds(seen(5, day=Counts(1000, 110))) == {"floor"}
    assert kinds(seen(5, day=Counts(1000, 110)), replace(RULES, floor=0.5)) == set()
    assert kinds(seen(5, day=Counts(1000, 0)), replace(RULES, floor=0)) == set()


def test_errors_fail_at_once_latency_and_nulls_after_three_checks_in_a_row():
    assert kinds(seen(5, requests=40, errors=12)) == {"errors"}
    assert kinds(seen(5, requests=40, errors=3)) == set()
    assert kinds(seen(5, requests=19, errors=19)) == set()
    state, slow = MonitorState(), {"latency_seconds": 3.0, "null_share": 0.5}
    for minutes in (5, 10):
        state, alarms = advance(state, seen(minutes, **slow), RULES)
        assert not alarms
    assert kinds(seen(15, **slow), state=state) == {"latency", "null_features"}
    state, _ = advance(state, seen(15, latency_seconds=0.1, null_share=0.0), RULES)
    assert kinds(seen(20, **slow), state=state) == set()


def test_an_outcome_is_not_counted_twice():
    state, _ = advance(MonitorState(), seen(5, new=Counts(10, 1)), RULES)
    with pytest.raises(ValueError, match="follow"):
        advance(state, seen(5, new=Counts(10, 1)), RULES)
    with pytest.raises(ValueError, match="successes"):
        Counts(1, 2)
    with pytest.raises(ValueError, match="both counts"):
        Counts(1, 1, control_outcomes=1)
    with pytest.raises(ValueError, match="inside"):
        QualityRules(reference_rate=0)


def test_the_benchmarks_alarms_are_those_of_the_monitor():
    """`simulate` does for many models at once what `advance` does for one: the same first alarms."""
    found = simulate(200, runs=8, days=1, rate=0.13, seed=3, keep=True)
    assert np.isfinite(found.hours).sum() >= 6
    for run in range(8):
        state, first = MonitorState(), np.inf
        n, x = found.outcomes[:, run], found.successes[:, run]
        for at in range(len(n)):
            hour, day = slice(max(0, at - 11), at + 1), slice(max(0, at - 287), at + 1)
            counts = {"new": slice(at, at + 1), "hour": hour, "day": day}
            fields = {name: Counts(int(n[rows].sum()), int(x[rows].sum())) for name, rows in counts.items()}
            state, alarms = advance(state, seen(5 * (at + 1), **fields), RULES)
            if alarms:
                first = (at + 1) / 12
                break
        assert found.hours[run] == first


def test_a_healthy_week_is_quiet_and_half_the_success_is_seen():
    assert np.isinf(simulate(60, runs=100, days=7, rate=0.2, seed=1).hours).mean() >= 0.97
    assert np.median(simulate(200, runs=50, days=1, rate=0.1, seed=2).hours) <= 3
