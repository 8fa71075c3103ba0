"""The e-process against products by hand, against simulation without an effect, and against counts it must refuse."""

from fractions import Fraction
from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litgo_pipelines.experiments import e_process
from litgo_pipelines.experiments import srm as mismatch
from litgo_pipelines.experiments.e_process import log_e, log_e_not_worse


def by_hand(clients, rate, side, sd, grid):
    """Σ_k w_k Π over clients P(arm | outcome, d_k) / P(arm), client by client; clients: (f, treated, converted)."""
    effects = [Fraction(side * 4 * k, grid) * sd for k in range(1, grid + 1)]
    weights = [exp(-(float(d / sd) ** 2) / 2) for d in effects]
    total = 0.0
    for d, weight in zip(effects, weights, strict=True):
        product = Fraction(1)
        for f, treated, converted in clients:
            control_rate = rate / (f * (1 + d) + 1 - f)
            treatment_rate = control_rate * (1 + d)
            own, other = (treatment_rate, control_rate) if converted else (1 - treatment_rate, 1 - control_rate)
            share = f * own / (f * own + (1 - f) * other)
            product *= share / f if treated else (1 - share) / (1 - f)
        total += weight / sum(weights) * float(product)
    return total


@given(
    st.lists(st.tuples(st.sampled_from([0, 1]), st.booleans(), st.booleans()), min_size=0, max_size=25),
    st.sampled_from([1, -1]),
)
@settings(max_examples=25, deadline=None)
def test_it_is_the_mixture_of_products_over_clients(rows, side):
    shares = (Fraction(1, 10), Fraction(1, 2))
    rate, sd, grid = Fraction(3, 10), Fraction(1, 10), 5
    counts = np.zeros((4, 2))
    for phase, treated, converted in rows:
        counts[0 if treated else 1, phase] += 1
        counts[2 if treated else 3, phase] += converted
    expected = by_hand([(shares[p], t, c) for p, t, c in rows], rate, side, sd, grid)
    found = log_e([0.1, 0.5], *counts, rate=0.3, side=side, sd=0.1, grid=grid)
    assert exp(float(found)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("side", [1, -1])
def test_without_an_effect_its_mean_is_one_whatever_the_baseline_does(side):
    """20,000 runs, a ramp, a baseline that jumps, an expected rate that is wrong."""
    rng = np.random.default_rng(5)
    fraction, clients, rates = np.array([0.1, 0.5]), np.array([60, 40]), np.array([0.2, 0.45])
    treatment = rng.binomial(clients, fraction, (20_000, 2))
    x_t = rng.binomial(treatment, rates)
    x_c = rng.binomial(clients - treatment, rates)
    e = np.exp(log_e(fraction, treatment, clients - treatment, x_t, x_c, rate=0.3, side=side))
    assert e.mean() == pytest.approx(1, abs=4 * e.std() / np.sqrt(len(e)))
    assert e.std() > 0.1  # it does vary


def test_many_clients_do_not_overflow_and_cutoffs_are_vectorised():
    counts = np.array([[[10, 10]], [[10_000_000, 10_000_000]]], dtype=float)[:, 0]
    values = log_e([0.1, 0.5], counts, counts, counts * 0.4, counts * 0.3, rate=0.3, side=1)
    assert values.shape == (2,)
    assert np.isfinite(values).all()
    assert values[1] > 1e5
    alone = log_e([0.1, 0.5], counts[0], counts[0], counts[0] * 0.4, counts[0] * 0.3, rate=0.3, side=1)
    assert float(alone) == pytest.approx(float(values[0]))


def test_a_phase_without_clients_changes_nothing_and_order_of_phases_neither():
    one = log_e([0.5], [100], [100], [40], [30], rate=0.3, side=1)
    assert log_e([0.5, 0.2], [100, 0], [100, 0], [40, 0], [30, 0], rate=0.3, side=1) == pytest.approx(one)
    both = log_e([0.5, 0.2], [100, 5], [100, 9], [40, 1], [30, 2], rate=0.3, side=1)
    assert log_e([0.2, 0.5], [5, 100], [9, 100], [1, 40], [2, 30], rate=0.3, side=1) == pytest.approx(both)


@pytest.mark.parametrize(
    ("arguments", "rate", "side"),
    [
        (([0.0], [1], [1], [0], [0]), 0.3, 1),
        (([0.5], [1], [1], [2], [0]), 0.3, 1),
        (([0.5], [1], [1], [0], [0]), 1.0, 1),
        (([0.5], [1], [1], [0], [0]), 0.3, 0),
    ],
)
def test_what_it_is_not_defined_for_is_refused(arguments, rate, side):
    with pytest.raises(ValueError, match=r"inside|side|conversions"):
        log_e(*arguments, rate=rate, side=side)


def test_a_high_rate_keeps_probabilities_below_one():
    assert np.isfinite(log_e([0.01], [90], [90], [89], [88], rate=0.95, side=1))
    assert e_process.GRID == 40


def test_mismatch_is_the_beta_mixture_of_binomials_and_has_mean_one():
    f, k, n = 0.1, 20.0, 12
    rng = np.random.default_rng(3)
    share = rng.beta(k * f, k * (1 - f), 400_000)
    for treated in (0, 1, 5):
        mixture = (share**treated * (1 - share) ** (n - treated)).mean() / (f**treated * (1 - f) ** (n - treated))
        assert np.exp(mismatch.log_e([f], [treated], [n - treated], k)) == pytest.approx(mixture, rel=0.03)
    clients = np.array([300, 500])
    drawn = rng.binomial(clients, [0.1, 0.5], (20_000, 2))
    e = np.exp(mismatch.log_e([0.1, 0.5], drawn, clients - drawn))
    assert e.mean() == pytest.approx(1, abs=4 * e.std() / np.sqrt(len(e)))


def test_mismatch_sees_lost_exposures_and_not_a_fair_split():
    assert mismatch.log_e([0.5], [5000], [5000]) < 0
    assert mismatch.log_e([0.5], [10_000], [9_000]) > np.log(100)
    assert mismatch.log_e([0.1, 0.5], [400, 10_000], [3600, 9_000]) > np.log(100)
    with pytest.raises(ValueError, match="inside"):
        mismatch.log_e([1.0], [5], [0])


@pytest.mark.parametrize(("ratio", "level"), [(0.9, 1.0), (0.8, 0.0)])
def test_at_the_margin_the_mean_for_no_worse_is_one_whatever_the_baseline_does_and_beyond_it_less(ratio, level):
    rng = np.random.default_rng(6)
    fraction, clients, rates = np.array([0.1, 0.5]), np.array([300, 200]), np.array([0.2, 0.45])
    treatment = rng.binomial(clients, fraction, (20_000, 2))
    x_t, x_c = rng.binomial(treatment, rates * ratio), rng.binomial(clients - treatment, rates)
    e = np.exp(log_e_not_worse(fraction, x_t, x_c, margin=0.1))
    error = 4 * e.std() / np.sqrt(len(e))
    assert e.mean() < 1 + error
    if level:
        assert e.mean() == pytest.approx(1, abs=error)


def test_no_worse_is_shown_of_equals_and_not_of_what_is_worse_at_any_look():
    """1,000 experiments of 20,000 clients, looked at 40 times."""
    rng = np.random.default_rng(7)

    def shown(ratio):
        x_t = rng.binomial(250, 0.3 * ratio, (1000, 40)).cumsum(axis=1)[..., None]
        x_c = rng.binomial(250, 0.3, (1000, 40)).cumsum(axis=1)[..., None]
        return float((log_e_not_worse([0.5], x_t, x_c, margin=0.1).max(axis=1) >= np.log(20)).mean())

    assert shown(1.0) > 0.85
    assert shown(0.9) < 0.05
    assert shown(0.8) == 0
    with pytest.raises(ValueError, match="margin"):
        log_e_not_worse([0.5], [1], [1], margin=0)
