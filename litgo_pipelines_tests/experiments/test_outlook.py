"""What an experiment may show, against simulated experiments, and the prior by baseline."""

import json
from math import log

import numpy as np
import pytest

from litgo_pipelines.experiments import e_process
from litgo_pipelines.experiments.decision import ExperimentRules
from litgo_pipelines.experiments.outlook import outlook, possible_lifts, power
from litgo_pipelines.experiments.report import outlook_text


def simulated(
    rate: float,
    lift: float,
    sd: float,
    clients: int = 20_000,
    runs: int = 4000,
    expected: float | None = None,
    side: int = 1,
) -> float:
    """Share of experiments, half treated, whose e-value is at its limit at the end. expected: another rate."""
    draw = np.random.default_rng(5)
    half = clients // 2
    treated, control = draw.binomial(half, rate * (1 + lift), runs), draw.binomial(half, rate, runs)
    counts = np.full((runs, 1), half)
    found = e_process.log_e(
        [0.5], counts, counts, treated[:, None], control[:, None], rate=expected or rate, side=side, sd=sd
    )
    return float((found >= log(20)).mean())


@pytest.mark.parametrize(
    ("rate", "lift"), [(0.3, 0.1), (0.3, 0.05), (0.1, 0.1), (0.02, 0.2), (0.9, 0.02), (0.95, 0.01)]
)
def test_the_expected_power_is_that_of_simulated_experiments(rate: float, lift: float) -> None:
    rules = ExperimentRules(rate, sd=e_process.sd_for(rate, 0.5))
    assert power(rules, [20_000], [0.5], lift) == pytest.approx(simulated(rate, lift, rules.sd), abs=0.03)


@pytest.mark.parametrize(("rate", "lift"), [(0.3, 0.0), (0.3, -0.05), (0.1, 0.0)])
def test_the_expected_power_to_show_that_nothing_is_lost_is_that_of_simulated_experiments(
    rate: float, lift: float
) -> None:
    draw = np.random.default_rng(8)
    rules = ExperimentRules(rate, non_inferiority_margin=0.1)
    treated, control = draw.binomial(10_000, rate * (1 + lift), 4000), draw.binomial(10_000, rate, 4000)
    found = e_process.log_e_not_worse([0.5], treated[:, None], control[:, None], margin=0.1)
    assert power(rules, [20_000], [0.5], lift) == pytest.approx((found >= log(20)).mean(), abs=0.03)
    expected = outlook(rules, [(None, 0.5)], 400, 14)
    assert (expected.decisive, expected.power[0.0]) == (0.0, expected.decisive_power)
    assert "converts less by no more than 10%, at a lift of -5%" in outlook_text(expected.as_dict())


def test_a_wider_prior_shows_more_where_conversions_are_rare_and_errs_no_more() -> None:
    assert [e_process.sd_for(rate, 0.5) for rate in (0.02, 0.1, 0.3)] == [0.2, 0.1, 0.1]
    narrow, wide = (simulated(0.02, 0.2, sd) for sd in (0.1, 0.2))
    assert wide > narrow + 0.1
    assert simulated(0.02, 0.0, 0.2) < 0.025


def test_where_most_convert_small_effects_are_looked_for_and_shown_sooner_and_harm_too() -> None:
    """Beside the spread of .10, with which no rate above .76 can be expected while half are treated."""
    won, lost = 0.2 * 0.05 / 0.95, -0.02  # a fifth of those who do not convert
    sd = e_process.sd_for(0.95, 0.5)
    assert simulated(0.95, won, sd) > simulated(0.95, won, 0.1, expected=0.76) + 0.3
    assert simulated(0.95, lost, sd, 5000, side=-1) > simulated(0.95, lost, 0.1, 5000, expected=0.76, side=-1) + 0.2
    assert max(simulated(0.95, 0.0, sd, side=side) for side in (1, -1)) < 0.025
    for rate in (0.02, 0.3, 0.76, 0.8, 0.98):
        for fraction in (0.1, 0.5, 0.9):
            assert rate < e_process.highest_rate(fraction, e_process.sd_for(rate, fraction))


def test_an_outlook_names_lifts_that_can_be() -> None:
    assert possible_lifts(0.3) == (0.05, 0.1, 0.2)
    assert possible_lifts(0.9) == (0.05, 0.1)
    assert possible_lifts(0.98) == (pytest.approx(0.01 / 0.98),)
    found = outlook(ExperimentRules(0.98, sd=e_process.sd_for(0.98, 0.5)), [(None, 0.5)], 400, 14)
    assert list(found.power) == [found.decisive]
    assert found.as_dict()["power"] == {found.as_dict()["decisive"]: pytest.approx(found.decisive_power, abs=0.001)}
    assert 0.2 < found.decisive_power < 1


def test_what_is_expected_is_plain_json_and_a_sentence() -> None:
    found = outlook(ExperimentRules(0.3), [(4000, 0.1), (None, 0.5)], clients_per_day=400, window_days=14)
    stored = json.loads(json.dumps(found.as_dict()))
    assert (stored["clients"], stored["days"]) == (20_000, 64)
    assert stored["power"]["0.05"] < stored["power"]["0.1"] < stored["power"]["0.2"]
    assert outlook_text(stored).startswith("20,000 clients in about 64 days; chance to show a lift of +5%")
    assert outlook(ExperimentRules(0.3), [(None, 0.5)], 0, 14).days is None
    slow = outlook(ExperimentRules(0.3), [(4000, 0.1), (None, 0.5)], clients_per_day=20, window_days=14)
    assert (slow.clients, slow.days) == (1520, 90)  # who comes within the days allowed, and is final by then
    assert slow.decisive_power < 0.2 < found.decisive_power
    assert "unknown pace" in outlook_text(outlook(ExperimentRules(0.3), [(None, 0.5)], 0, 14).as_dict())
