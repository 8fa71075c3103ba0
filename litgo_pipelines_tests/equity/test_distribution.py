"""Fairness metrics: known values, properties, and agreement with brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import lil_array
from scipy.sparse.csgraph import maximum_flow

from litgo_pipelines.equity.distribution import (
    Cases,
    Lawyers,
    coverage_bound,
    distribution,
    eligible,
    gini,
    utilisation,
)
from litgo_pipelines.equity.targets import TARGETS, explain
from litgo_pipelines.marketplace.geo import EARTH_RADIUS_KM, nearest_state

AREAS = ["Civil", "Criminal", "Família"]


def market(seed: int, lawyers: int = 60, cases: int = 15) -> tuple[Lawyers, Cases]:
    rng = np.random.default_rng(seed)
    tags = [sorted(set(rng.choice(AREAS, rng.integers(1, 3)))) for _ in range(lawyers)]
    people = Lawyers(
        primary_area=np.array([t[0] for t in tags], dtype=object),
        lat=rng.uniform(-25, -23, lawyers),
        lng=rng.uniform(-48, -46, lawyers),
        capacity=rng.integers(5, 30, lawyers).astype(float),
        offers=rng.poisson(3, lawyers).astype(float),
        active_share=rng.uniform(0, 1, lawyers),
        area_of=np.array([i for i, t in enumerate(tags) for _ in t]),
        area=np.array([a for t in tags for a in t], dtype=object),
    )
    return people, Cases(
        area=rng.choice(AREAS, cases).astype(object), lat=rng.uniform(-25, -23, cases), lng=rng.uniform(-48, -46, cases)
    )


def haversine(lat1, lng1, lat2, lng2):
    p1, p2 = np.radians(lat1), np.radians(lat2)
    h = np.sin((p2 - p1) / 2) ** 2 + np.cos(p1) * np.cos(p2) * np.sin(np.radians(lng2 - lng1) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(h))


def reachable(people: Lawyers, cases: Cases, radius: float) -> np.ndarray:
    """(lawyers, cases), pair by pair."""
    result = np.zeros((len(people.capacity), len(cases.area)), dtype=bool)
    for i, area in zip(people.area_of.tolist(), people.area, strict=True):
        for j in range(len(cases.area)):
            near = haversine(people.lat[i], people.lng[i], cases.lat[j], cases.lng[j]) <= radius
            result[i, j] |= bool(cases.area[j] == area and near)
    return result


def test_gini_known_values() -> None:
    assert gini(np.ones(10)) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 1.0])) == pytest.approx(0.75)
    assert gini(np.array([1.0, 2, 3, 4])) == pytest.approx(0.25)
    assert np.isnan(gini(np.array([])))
    assert np.isnan(gini(np.zeros(4)))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60).filter(lambda v: max(v) > 1e-3))
def test_gini_is_half_the_relative_mean_difference(values: list[float]) -> None:
    x = np.array(values)
    direct = np.abs(x[:, None] - x[None, :]).mean() / (2 * x.mean())
    assert gini(x) == pytest.approx(direct, abs=1e-9)
    assert gini(x * 3.5) == pytest.approx(gini(x), abs=1e-9)


def test_utilisation_counts_the_share_of_the_window() -> None:
    people, _ = market(1)
    people.offers[:2], people.capacity[:2], people.active_share[:2] = [10, 10], [10, 10], [1, 0.5]
    people.active_share[2] = 0
    u = utilisation(people)
    assert u[0] == pytest.approx(0.2)
    assert u[1] == pytest.approx(0.4)
    assert np.isnan(u[2])


@pytest.mark.parametrize("seed", range(8))
def test_eligible_agrees_with_every_pair(seed: int) -> None:
    people, cases = market(seed)
    assert (eligible(people, cases, 30) == reachable(people, cases, 30).any(axis=1)).all()


def test_a_case_without_a_place_reaches_its_area_everywhere() -> None:
    people, cases = market(4)
    cases.lat[:], cases.lng[:], cases.area[:] = np.nan, np.nan, "Civil"
    expected = np.zeros(len(people.capacity), dtype=bool)
    expected[people.area_of[people.area == "Civil"]] = True
    assert (eligible(people, cases) == expected).all()
    assert coverage_bound(people, cases, expected) == pytest.approx(min(1, 5 * len(cases.area) / expected.sum()))


@pytest.mark.parametrize("seed", range(8))
def test_coverage_bound_is_above_the_exact_flow_and_close(seed: int) -> None:
    people, cases = market(seed, lawyers=60, cases=6)
    pairs = reachable(people, cases, 50)
    among = np.asarray(pairs.any(axis=1))
    n, m = map(int, pairs.shape)
    graph = lil_array((n + m + 2, n + m + 2), dtype=np.int32)
    for j in range(m):
        graph[0, 1 + j] = 5
        for i in np.flatnonzero(pairs[:, j]).tolist():
            graph[1 + j, 1 + m + i] = 1
    for i in range(n):
        graph[1 + m + i, n + m + 1] = 1
    exact = maximum_flow(graph.tocsr(), 0, n + m + 1).flow_value / among.sum()
    bound = coverage_bound(people, cases, among)
    assert exact - 1e-9 <= bound <= min(1, exact + 0.25)


def test_nobody_and_nothing() -> None:
    people, cases = market(2)
    none = Cases(area=cases.area[:0], lat=cases.lat[:0], lng=cases.lng[:0])
    figures = distribution(people, none)
    assert figures["lawyers"] == 0
    assert figures["gini"] is None
    assert figures["coverage"] is None
    assert not any(target.met(figures[target.column]) for target in TARGETS)
    assert "nobody" in explain(TARGETS[0], "2026-03-09", figures)


def test_spread_is_inside_pools_only() -> None:
    people, cases = market(5, lawyers=200, cases=200)
    figures = distribution(people, cases)
    assert figures["pools"]
    u, uf = utilisation(people), nearest_state(people.lat, people.lng)
    counted = eligible(people, cases) & (people.active_share > 0.15)
    for pool in figures["pools"]:
        area, state = pool["pool"].split(" · ")
        here = counted & (people.primary_area == area) & (uf == state)
        assert pool["lawyers"] == here.sum() >= 20
        low, high = np.percentile(u[here], [5, 95])
        assert pool["spread_points"] == pytest.approx(100 * (high - low))
    assert figures["spread_points"] == max(p["spread_points"] for p in figures["pools"])


def test_states() -> None:
    places = {"SP": (-22.9, -47.06), "RJ": (-22.88, -43.1), "AM": (-3.1, -60.0), "RS": (-29.9, -51.2)}
    lat, lng = (np.array([p[i] for p in places.values()]) for i in (0, 1))
    assert nearest_state(lat, lng).tolist() == list(places)
    assert nearest_state(np.array([np.nan]), np.array([1.0])).tolist() == ["??"]
