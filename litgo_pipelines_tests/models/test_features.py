"""The feature contract as data, and ranks within a case."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.matching.momentum import MOST_CONTRACTS
from litgo_pipelines.models import features
from litgo_pipelines.models.features import BASE, BY_KEY, CONTRACT, FEATURES, KEYS, RANK, RANKED, RANKS

pools = st.lists(
    st.lists(st.sampled_from([np.nan, 0.0, 0.2, 0.5, 1.0]), min_size=1, max_size=9), min_size=1, max_size=6
)


def test_the_contract_says_of_each_feature_what_it_is() -> None:
    assert len(BY_KEY) == len(CONTRACT)
    assert FEATURES == ("A", "S", "T", "G", "Q", "U", "R", "C")
    assert KEYS[: len(BASE)] == BASE
    assert BASE[:8] == FEATURES
    for feature in CONTRACT:
        assert all((feature.name, feature.meaning, feature.source, feature.known))
        assert feature.low < feature.high
        assert feature.since.year >= 2025
    assert {feature.key for feature in RANKS} == {RANK + key for key in RANKED}
    assert BY_KEY["contracts_30d"].high == MOST_CONTRACTS


def plain_rank(pool: list[float], value: float) -> float:
    known = [v for v in pool if not np.isnan(v)]
    if np.isnan(value) or len(known) < 2:
        return np.nan
    return round((sum(v < value for v in known) + (known.count(value) - 1) / 2) / (len(known) - 1), 4)


@given(pools)
def test_a_rank_is_the_share_of_the_others_below(cases: list[list[float]]) -> None:
    values = np.array([value for case in cases for value in case])
    expected = [plain_rank(case, value) for case in cases for value in case]
    np.testing.assert_array_equal(features.within_case(values, np.array([len(case) for case in cases])), expected)


@given(pools)
def test_ranks_are_the_same_bytes_whoever_asks(cases: list[list[float]]) -> None:
    """Of the few that are logged, of a whole pool that a model ranks, and in the rows of a replay."""
    sizes = np.array([len(case) for case in cases])
    draw = np.random.default_rng(len(cases))
    base = np.column_stack([draw.permutation([v for case in cases for v in case]) for _ in BASE])
    everything = features.with_ranks(base, sizes)
    names = ("R", RANK + "tenure", "accepted_30d", RANK + "accepted_30d")
    chosen = features.select(base, sizes, names)
    assert chosen.tobytes() == np.ascontiguousarray(everything[:, [KEYS.index(name) for name in names]]).tobytes()
    starts = np.cumsum(sizes) - sizes
    for start, size in zip(starts, sizes, strict=True):
        rows = draw.permutation(size)[: 1 + size // 2]
        logged = features.ranks_of(base[start : start + size], rows)
        assert logged.tobytes() == np.ascontiguousarray(everything[start + rows][:, len(BASE) :]).tobytes()


def test_a_version_that_names_what_the_contract_has_not_says_so() -> None:
    with pytest.raises(KeyError, match="no feature mood: this version needs newer code"):
        features.select(np.zeros((2, len(BASE))), np.array([2]), ("A", "mood"))
