"""Confidence sequences against published values, and the variances behind them against statsmodels."""

from math import log, sqrt

import numpy as np
import pytest
from scipy.stats import norm

from litgo_pipelines.experiments.confidence import (
    Moments,
    half_width,
    interval,
    moments,
    one_sided_width,
    rho_squared,
    stratified,
)


@pytest.mark.parametrize(
    ("estimate", "standard_error", "clients", "tuning", "low", "high"),
    [(0.50336, 0.33341, 6461, 1000, -0.55844, 1.56516), (0.50386, 0.03386, 6461, 5000, 0.40098, 0.60675)],
)
def test_two_sided_intervals_are_those_published_by_gbstats(estimate, standard_error, clients, tuning, low, high):
    """Sequential two-sided tests of GrowthBook's statistics engine (`gbstats`, its own test values, 5 decimals)."""
    width = half_width(standard_error, clients, 0.05, tuning)
    assert (estimate - width, estimate + width) == pytest.approx((low, high), abs=1e-4)  # the error has 5 decimals too


def test_the_width_is_the_unit_margin_of_the_papers_package():
    """`std_conjmix_margin(t, rho2, alpha)` of WannabeSmith/drconfseq: sqrt(2(tρ²+1)·log(sqrt(tρ²+1)/α)/(t²ρ²))."""
    t, alpha = 2000, 0.05
    rho2 = rho_squared(alpha, 1000)
    margin = sqrt(2 * (t * rho2 + 1) * log(sqrt(t * rho2 + 1) / alpha) / (t**2 * rho2))
    assert half_width(1 / sqrt(t), t, alpha, 1000) == pytest.approx(margin)


def test_the_sequence_is_tightest_relative_to_a_fixed_interval_near_its_tuning():
    ratio = [half_width(1, n, 0.05, 5000) for n in (500, 5000, 50_000)]
    assert ratio[1] < min(ratio[0], ratio[2])
    assert ratio[1] > norm.ppf(0.975)
    assert one_sided_width(1, 5000, 0.05) < ratio[1]


@pytest.mark.parametrize("one_sided", [False, True])
def test_looking_after_every_client_leaves_the_error_below_alpha(one_sided):
    rng = np.random.default_rng(1)
    runs, first, last, alpha = 2000, 100, 4000, 0.1
    n = np.arange(first, last)
    crossed = np.zeros(runs, dtype=bool)
    limit = np.array([(one_sided_width if one_sided else half_width)(1 / sqrt(t), t, alpha, 1000) for t in n.tolist()])
    for run in range(runs):
        mean = rng.standard_normal(last).cumsum()[n - 1] / n
        crossed[run] = ((mean if one_sided else np.abs(mean)) > limit).any()
    assert 0.02 < crossed.mean() < alpha


def test_one_phase_has_the_variance_of_a_fixed_horizon_test():
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    rng = np.random.default_rng(2)
    a, b = rng.exponential(10, 900), rng.exponential(12, 1500)
    found = stratified([(moments(a, cap=40), moments(b, cap=40))])
    oracle = CompareMeans(DescrStatsW(np.minimum(a, 40)), DescrStatsW(np.minimum(b, 40)))
    assert found is not None
    assert found.difference == pytest.approx(np.minimum(a, 40).mean() - np.minimum(b, 40).mean())
    assert found.standard_error == pytest.approx(oracle.std_meandiff_separatevar)
    low, high = oracle.zconfint_diff(usevar="unequal")
    sequence = interval(found, 0.05)
    assert sequence[0] < low < high < sequence[1]


def test_phases_are_weighted_so_that_a_drifting_baseline_cancels():
    rng = np.random.default_rng(3)
    phases = [(rng.normal(0, 1, 400), rng.normal(0, 1, 3600)), (rng.normal(5, 1, 2000), rng.normal(5, 1, 2000))]
    found = stratified([(moments(t), moments(c)) for t, c in phases])
    assert found is not None
    weights = np.array([400 * 3600 / 4000, 1000])
    expected = weights @ [t.mean() - c.mean() for t, c in phases] / weights.sum()
    assert found.difference == pytest.approx(expected)
    assert found.effective == pytest.approx(4 * weights.sum())
    assert abs(found.difference) < 4 * found.standard_error
    pooled = np.concatenate([t for t, _ in phases]).mean() - np.concatenate([c for _, c in phases]).mean()
    assert pooled > 1  # what the ramp alone would have shown


def test_a_ratio_over_clients_counts_dependent_requests_as_one_client():
    """Accepted requests over requests, the client's own rate behind all of them: the delta method's error is that of
    the ratio over repeated samples, and larger than requests counted one by one would give."""
    rng = np.random.default_rng(4)

    def sample():
        rate, requests = rng.beta(1, 2, 400), 1 + rng.poisson(4, 400)
        return moments(rng.binomial(requests, rate), requests)

    found = [stratified([(sample(), sample())]) for _ in range(400)]
    errors = [each.standard_error for each in found if each]
    spread = np.std([each.difference for each in found if each])
    assert np.mean(errors) == pytest.approx(spread, rel=0.12)
    naive = sqrt(2 * (1 / 3) * (2 / 3) / (400 * 5))
    assert np.mean(errors) > 1.3 * naive


def test_few_clients_or_few_ratings_give_no_interval():
    rng = np.random.default_rng(5)
    many, few = moments(rng.normal(size=500)), moments(rng.normal(size=99))
    assert stratified([(few, many)]) is None
    reviewed = (rng.random(500) < 0.1).astype(float)
    assert stratified([(moments(4 * reviewed, reviewed), many)]) is None
    assert stratified([]) is None
    assert stratified([(many, many), (Moments(), few)]) is not None  # a phase that has just begun
    with pytest.raises(ValueError, match="finite"):
        moments([1.0, np.nan])
