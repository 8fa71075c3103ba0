"""The eight features: known values, ranges, missing evidence, and imputation against a loop."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from litgo_pipelines.matching.features import (
    DECIMALS,
    bounded,
    closeness,
    impute,
    qualification,
    review_score,
    soft_skills,
    success,
    urgency_capacity,
)

pytestmark = pytest.mark.proof

NAN = math.nan

KNOWN: list[tuple[Callable[..., Any], tuple[float, ...], float]] = [
    (success, (0, 0), NAN),
    (success, (1, 1), 0.667),
    (success, (0, 1), 0.333),
    (success, (80, 100), 0.794),
    (closeness, (0, 50), 1.0),
    (closeness, (12.5, 50), 0.75),
    (closeness, (50, 50), 0.0),
    (closeness, (80, 50), 0.0),
    (closeness, (NAN, 50), NAN),
    (closeness, (10, NAN), NAN),
    (qualification, (0, 0, 0), 0.0),
    (qualification, (10, 2, 3), 0.57),
    (qualification, (40, 3, 9), 1.0),
    (qualification, (NAN, 3, 9), NAN),
    (urgency_capacity, (6, 24), 0.75),
    (urgency_capacity, (24, 24), 0.0),
    (urgency_capacity, (48, 24), 0.0),
    (urgency_capacity, (NAN, 24), NAN),
    (urgency_capacity, (6, NAN), NAN),
    (review_score, (NAN, 0), NAN),
    (review_score, (5, 5), 1.0),
    (review_score, (1, 5), 0.0),
    (review_score, (5, 1), 0.6),
    (review_score, (3, 2), 0.5),
    (review_score, (4, 200), 0.75),
    (soft_skills, (0.83,), 0.83),
    (soft_skills, (NAN,), 0.5),
]


@pytest.mark.parametrize(("feature", "given", "expected"), KNOWN)
def test_known_values(feature: Callable[..., Any], given: tuple[float, ...], expected: float) -> None:
    assert feature(*(np.array([value], dtype=float) for value in given)) == pytest.approx([expected], nan_ok=True)


@pytest.mark.parametrize("urgency", [0.0, -3.0])
@pytest.mark.filterwarnings("error")
def test_nobody_has_capacity_for_a_case_that_is_overdue(urgency: float) -> None:
    assert urgency_capacity(np.array([6.0]), np.array([urgency])).tolist() == [0.0]


amount = st.just(0.0) | st.just(NAN) | st.floats(0, 1e4)
counts = st.integers(0, 300).map(float)
COLUMNS: dict[Callable[..., Any], tuple[st.SearchStrategy, ...]] = {
    closeness: (amount, st.just(NAN) | st.floats(1, 3000)),
    qualification: (amount, st.integers(0, 3).map(float), counts),
    urgency_capacity: (amount, st.just(NAN) | st.floats(0.5, 1e4)),
    review_score: (st.floats(1, 5), counts),
    soft_skills: (amount,),
}


@pytest.mark.parametrize("feature", COLUMNS)
@given(st.data())
def test_every_feature_lies_between_zero_and_one(feature: Callable[..., Any], data: st.DataObject) -> None:
    """On the grid of DECIMALS too, row by row, and missing only where evidence is."""
    n = data.draw(st.integers(0, 6))
    columns = [data.draw(arrays(float, n, elements=elements)) for elements in COLUMNS[feature]]
    result = feature(*columns)
    there = ~np.isnan(result)
    assert result.shape == (n,)
    assert ((result[there] >= 0) & (result[there] <= 1)).all()
    assert (result[there] == np.round(result[there], DECIMALS)).all()
    if feature is soft_skills:
        assert there.all()
    elif feature is review_score:
        assert (there == (columns[1] > 0)).all()
    else:
        assert (there == ~np.isnan(columns[0] + (columns[1] if feature is not qualification else 0))).all()
    alone = [feature(*(column[row : row + 1] for column in columns))[0] for row in range(n)]
    assert result == pytest.approx(alone, nan_ok=True, abs=0)


@given(
    counts.flatmap(
        lambda concluded: st.tuples(st.floats(0, 1).map(lambda share: share * concluded), st.just(concluded))
    )
)
def test_success_is_between_what_was_seen_and_even_odds(case: tuple[float, float]) -> None:
    won, concluded = case
    (rate,) = success(np.array([won]), np.array([concluded]))
    if concluded == 0:
        assert np.isnan(rate)
    else:
        low, high = sorted((won / concluded, 0.5))
        assert low - 0.0005 <= rate <= high + 0.0005


@given(st.floats(1, 5), st.integers(1, 4))
def test_trust_grows_with_reviews(stars: float, reviews: int) -> None:
    fewer, more, full = (review_score(np.array([stars]), np.array([n]))[0] for n in (reviews, reviews + 1, 5))
    assert abs(fewer - 0.5) <= abs(more - 0.5) <= abs(full - 0.5)
    assert full == pytest.approx((stars - 1) / 4, abs=0.00051)


@given(st.floats(0, 40), st.integers(0, 3), st.integers(0, 9), st.floats(0, 10), st.integers(0, 3), st.integers(0, 9))
def test_more_qualification_never_counts_less(
    years: float, degree: int, publications: int, years_more: float, degree_more: int, publications_more: int
) -> None:
    less, more = (
        qualification(np.array([y]), np.array([float(d)]), np.array([float(p)]))[0]
        for y, d, p in (
            (years, degree, publications),
            (years + years_more, min(3, degree + degree_more), publications + publications_more),
        )
    )
    assert less <= more


@given(arrays(float, st.integers(0, 20), elements=st.floats(allow_nan=True, allow_infinity=True)))
def test_bounded_clips_rounds_and_keeps_what_is_missing(values: np.ndarray) -> None:
    result = bounded(values)
    assert (np.isnan(result) == np.isnan(values)).all()
    expected = [NAN if math.isnan(v) else round(min(max(v, 0.0), 1.0), 3) for v in values.tolist()]
    assert result == pytest.approx(expected, abs=1e-3, nan_ok=True)
    assert (bounded(result)[~np.isnan(result)] == result[~np.isnan(result)]).all()


# imputation

cell = st.just(NAN) | st.sampled_from([0.0, 0.25, 1.0]) | st.integers(0, 1000).map(lambda x: x / 1000)


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """(features of the pairs, first row of each case): cases of 1 to 6 pairs, whole columns missing now and then."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    features = draw(arrays(float, (sum(sizes), 8), elements=cell))
    features[:, draw(st.lists(st.integers(0, 7), max_size=3))] = NAN
    return features, np.cumsum([0, *sizes[:-1]])


def one_by_one(features: np.ndarray, starts: np.ndarray) -> tuple[list[list[float]], list[list[bool]]]:
    """What `impute` says, value by value."""
    rows, ends = features.tolist(), [*starts.tolist()[1:], len(features)]
    filled, flags = [], []
    for start, end in zip(starts.tolist(), ends, strict=True):
        pool = rows[start:end]
        for row in pool:
            values = []
            for column, value in enumerate(row):
                known = [other[column] for other in pool if not math.isnan(other[column])]
                if math.isnan(value) and known:
                    value = round(sum(known) / len(known), DECIMALS)
                values.append(value)
            filled.append(values)
            flags.append([math.isnan(value) for value in row])
    return filled, flags


@given(batches())
def test_impute_agrees_with_a_loop(batch: tuple[np.ndarray, np.ndarray]) -> None:
    features, starts = batch
    before = features.copy()
    filled, flags = impute(features, starts)
    expected, missing = one_by_one(features, starts)
    # half a unit of the last decimal may round either way
    assert filled == pytest.approx(np.array(expected), abs=1.001 * 10**-DECIMALS, nan_ok=True)
    assert flags.tolist() == missing
    assert (filled[~flags] == before[~flags]).all()
    assert (np.isnan(features) == np.isnan(before)).all()  # the input is left as it was
    assert (np.round(filled, DECIMALS) == filled)[~np.isnan(filled)].all()


@given(batches())
def test_imputing_twice_changes_nothing_and_pools_do_not_mix(batch: tuple[np.ndarray, np.ndarray]) -> None:
    features, starts = batch
    filled, _ = impute(features, starts)
    again, flags = impute(filled, starts)
    assert again == pytest.approx(filled, abs=0, nan_ok=True)
    assert (flags == np.isnan(filled)).all()
    for start, end in zip(starts, [*starts[1:], len(features)], strict=True):
        alone, _ = impute(features[start:end], np.array([0]))
        assert filled[start:end] == pytest.approx(alone, abs=0, nan_ok=True)


def test_impute_known_values() -> None:
    features = np.full((5, 8), 0.5)
    features[:, 2] = [0.2, NAN, 0.9, NAN, NAN]
    features[:, 1] = NAN
    filled, flags = impute(features, np.array([0, 3]))
    assert filled[:, 2] == pytest.approx([0.2, 0.55, 0.9, NAN, NAN], nan_ok=True)
    assert flags[:, 2].tolist() == [False, True, False, True, True]
    assert np.isnan(filled[:, 1]).all()
    assert flags[:, 1].all()
    assert not flags[:, [0, 3, 4, 5, 6, 7]].any()


def test_nothing_missing_is_nothing_to_do() -> None:
    features = np.random.default_rng(1).random((4, 8))
    filled, flags = impute(features, np.array([0, 2]))
    assert (filled == features).all()
    assert not flags.any()
