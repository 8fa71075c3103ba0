"""The Gini by arm: biased as it stands, right after the permutation, and sharp enough to see a worse spread."""

from typing import Any

import numpy as np
import pytest

from litgo_pipelines.equity.distribution import gini
from litgo_pipelines.experiments.fairness import interim_analysis, interim_points

pytestmark = pytest.mark.proof

LAWYERS = 100


def experiment(seed: int, worse: bool = False, clients: int = 1000, share: float = 0.1):
    """Clients, arms and offers; `worse` gives treatment's offers to a third of the lawyers more often."""
    rng = np.random.default_rng(seed)
    treated = rng.random(clients) < share
    popular = np.where(np.arange(LAWYERS) < LAWYERS // 3, 3.0, 1.0)
    weights = np.where((treated & worse)[:, None], popular, 1.0)
    lawyer = np.array([rng.choice(LAWYERS, 5, replace=False, p=w / w.sum()) for w in weights]).ravel()
    return treated, np.zeros(clients), np.repeat(np.arange(clients), 5), lawyer, np.full(LAWYERS, 10.0)


def test_the_reported_ginis_are_those_of_the_equity_stage():
    treated, phase, client, lawyer, capacity = experiment(1)
    capacity = np.linspace(5, 30, LAWYERS)
    found = interim_analysis(treated, phase, client, lawyer, capacity, seed=3, permutations=50)
    for arm, value in ((True, found.gini_treatment), (False, found.gini_control)):
        offers = np.bincount(lawyer[treated[client] == arm], minlength=LAWYERS)
        assert value == pytest.approx(gini(offers / capacity))
    again = interim_analysis(treated, phase, client, lawyer, capacity, seed=3, permutations=50)
    assert found == again


def test_the_naive_difference_is_biased_and_the_corrected_one_is_not():
    found = [interim_analysis(*experiment(seed), seed=seed, permutations=99) for seed in range(25)]
    naive, excess = (np.array([getattr(each, name) for each in found]) for name in ("naive", "excess"))
    assert naive.mean() > 0.08
    assert abs(excess.mean()) < 4 * excess.std() / 5
    assert 0.2 < np.mean([each.p_value for each in found]) < 0.8


def test_a_worse_spread_is_seen():
    found = interim_analysis(*experiment(2, worse=True, clients=4000, share=0.5), seed=1, permutations=199)
    assert found.excess > 0.1
    assert found.p_value == 1 / 200
    better = interim_analysis(*_swapped(experiment(2, worse=True, clients=4000, share=0.5)), seed=1, permutations=199)
    assert better.excess < -0.1
    assert better.p_value == 1.0


def _swapped(columns):
    return (~columns[0], *columns[1:])


def test_arms_are_shuffled_inside_their_phase_only():
    """A ramp during which offers become less even: shuffled over all clients treatment would look worse."""
    rng = np.random.default_rng(4)
    phase = np.repeat([0, 1], 1000)
    treated = rng.random(2000) < np.where(phase == 0, 0.1, 0.5)
    lawyer = np.where(np.repeat(phase, 5) == 0, rng.integers(0, LAWYERS, 10_000), rng.integers(0, 30, 10_000))
    columns = (np.repeat(np.arange(2000), 5), lawyer, np.ones(LAWYERS))
    inside = interim_analysis(treated, phase, *columns, seed=1, permutations=99)
    across = interim_analysis(treated, np.zeros(2000), *columns, seed=1, permutations=99)
    assert abs(inside.excess) < 0.02
    assert inside.p_value > 0.02
    assert across.excess > 0.1


def test_looks_double_and_bad_columns_are_refused():
    assert list(interim_points(20_000)) == [1000, 2000, 4000, 8000, 16_000]
    assert list(interim_points(999)) == []
    treated, phase, client, lawyer, capacity = experiment(5)
    with pytest.raises(ValueError, match="not given"):
        interim_analysis(treated, phase, client, lawyer + LAWYERS, capacity, seed=1)
    with pytest.raises(ValueError, match="no offer"):
        interim_analysis(np.zeros_like(treated), phase, client, lawyer, capacity, seed=1)
    with pytest.raises(ValueError, match="above 0"):
        interim_analysis(treated, phase, client, lawyer, capacity * 0, seed=1)


def test_an_arm_is_seen_as_if_it_had_made_all_offers_of_the_month() -> None:
    draw = np.random.default_rng(3)
    clients, lawyers = 400, 25
    treated = draw.random(clients) < 0.3
    client = np.repeat(np.arange(clients), 5)
    lawyer = np.where(treated[client] & (draw.random(len(client)) < 0.4), 0, draw.integers(0, lawyers, len(client)))
    capacity = draw.integers(5, 30, lawyers).astype(float)
    base = draw.integers(0, 40, lawyers).astype(float)
    phase = np.zeros(clients)
    made = 5_000.0

    def seen(mine: Any) -> float:
        offers = np.bincount(lawyer[mine[client]], minlength=lawyers)
        return float(gini((base + offers * made / offers.sum()) / capacity))

    found = interim_analysis(treated, phase, client, lawyer, capacity, seed=1, permutations=99, base=base, made=made)
    assert (found.gini_treatment, found.gini_control) == pytest.approx((seen(treated), seen(~treated)))
    # on top of a full month from before, what a few have done shows little; alone it is what it was
    alone = interim_analysis(treated, phase, client, lawyer, capacity, seed=1, permutations=99)
    full = interim_analysis(
        treated, phase, client, lawyer, capacity, seed=1, permutations=99, base=1e9 * capacity, made=made
    )
    assert abs(full.excess) < 1e-3 < alone.excess
    again = interim_analysis(
        treated, phase, client, lawyer, capacity, seed=1, permutations=99, base=0 * base, made=made
    )
    assert again.excess == pytest.approx(alone.excess)
