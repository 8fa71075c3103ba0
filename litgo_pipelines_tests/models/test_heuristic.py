"""The heuristic ranker: presets, complexity, and the score against a loop over single rows."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from litgo_pipelines.models.heuristic import (
    BLOCK,
    COMPLEXITY,
    FEATURES,
    HEURISTIC_WEIGHTS,
    PRESETS,
    score,
    weights,
)

value = st.just(float("nan")) | st.sampled_from([0.0, 1.0]) | st.floats(0, 1)
rows = st.integers(0, 12)
matrix = rows.flatmap(lambda n: arrays(float, (n, 8), elements=value))
weight = st.sampled_from([0.0, 0.05, 1.0]) | st.floats(0.001, 1)


def naive(features: np.ndarray, weight_of: np.ndarray) -> list[float]:
    """Row by row, by the words: the weighted mean of what is there."""
    result = []
    for row, own in zip(features, weight_of, strict=True):
        there = [(f, w) for f, w in zip(row, own, strict=True) if not math.isnan(f)]
        total = math.fsum(w for _, w in there)
        result.append(math.fsum(f * w for f, w in there) / total if total > 0 else 0.0)
    return result


def known(preset: str, complexity: str = "MEDIUM") -> dict[str, float]:
    return dict(zip(FEATURES, weights(preset, complexity).tolist(), strict=True))


def test_every_preset_weighs_every_feature() -> None:
    for name, preset in PRESETS.items():
        assert tuple(preset) == FEATURES, name
        assert sum(preset.values()) == pytest.approx(1.03 if name == "balanced" else 1), name
    assert all(set(changes) <= set(FEATURES) for changes in COMPLEXITY.values())


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("complexity", COMPLEXITY)
def test_weights_sum_to_one_and_none_is_negative(preset: str, complexity: str) -> None:
    assert weights(preset, complexity).shape == (8,)
    assert weights(preset, complexity).sum() == pytest.approx(1, abs=1e-12)
    assert (weights(preset, complexity) >= 0).all()


def test_balanced_is_the_default() -> None:
    assert known("balanced") == pytest.approx({key: w / 1.03 for key, w in HEURISTIC_WEIGHTS.items()})
    rng = np.random.default_rng(1)
    features = rng.random((50, 8))
    assert score(features) == pytest.approx(score(features, weights("balanced", "MEDIUM")), abs=1e-12)


@pytest.mark.parametrize("complexity", COMPLEXITY)
def test_presets_prefer_what_they_are_named_for(complexity: str) -> None:
    balanced = known("balanced", complexity)
    for preset, favoured in (("fast", "GU"), ("expert", "STQ"), ("economic", "G")):
        assert all(known(preset, complexity)[key] > balanced[key] for key in favoured), preset
    assert {"A", "G", "U"} == set(sorted(FEATURES, key=known("fast", complexity).__getitem__)[-3:])
    assert known("economic", complexity)["U"] > known("economic", complexity)["Q"]


@pytest.mark.parametrize(("complexity", "up", "down"), [("HIGH", "QTC", "U"), ("LOW", "UG", "QT"), ("MEDIUM", "", "")])
@pytest.mark.parametrize("preset", PRESETS)
def test_complexity_moves_the_weights_it_names(preset: str, complexity: str, up: str, down: str) -> None:
    before, after = known(preset), known(preset, complexity)
    assert all(after[key] > before[key] for key in up)
    assert all(after[key] < before[key] for key in down)


def test_known_weights() -> None:
    # .05 − .05 of U, .10 + .05 of Q, .15 + .05 of T, .03 + .02 of C, over 1.03 + .07
    high = {"A": 0.30, "S": 0.25, "T": 0.20, "G": 0.10, "Q": 0.15, "U": 0.0, "R": 0.05, "C": 0.05}
    assert known("balanced", "HIGH") == pytest.approx({key: w / 1.10 for key, w in high.items()})
    # clipped at 0: .02 of U cannot lose .05
    assert known("expert", "HIGH")["U"] == 0
    assert known("expert", "HIGH")["S"] == pytest.approx(0.30 / 1.10)


def test_weights_are_made_once_and_cannot_be_changed() -> None:
    assert weights("fast", "LOW") is weights("fast", "LOW")
    with pytest.raises(ValueError, match="read-only"):
        weights("fast", "LOW")[0] = 1


def test_unknown_names_are_named() -> None:
    with pytest.raises(ValueError, match="preset 'cheap' is unknown: there are balanced, fast, expert, economic"):
        weights("cheap", "MEDIUM")
    with pytest.raises(ValueError, match="complexity 'low' is unknown"):
        weights("fast", "low")


@given(matrix)
def test_score_agrees_with_a_loop(features: np.ndarray) -> None:
    every = np.tile(list(HEURISTIC_WEIGHTS.values()), (len(features), 1))
    assert score(features) == pytest.approx(naive(features, every), abs=1e-12)


@given(st.data())
def test_score_takes_weights_for_all_or_for_each_row(data: st.DataObject) -> None:
    features = data.draw(matrix)
    one = data.draw(arrays(float, 8, elements=weight))
    each = data.draw(arrays(float, features.shape, elements=weight))
    assert score(features, one) == pytest.approx(naive(features, np.tile(one, (len(features), 1))), abs=1e-12)
    assert score(features, each) == pytest.approx(naive(features, each), abs=1e-12)


@given(matrix)
def test_score_lies_between_zero_and_one(features: np.ndarray) -> None:
    result = score(features)
    assert ((result >= 0) & (result <= 1)).all()
    assert (result[np.isnan(features).all(axis=1)] == 0).all()


def test_a_missing_feature_is_left_out() -> None:
    everything = np.full((1, 8), 0.4)
    without = everything.copy()
    without[0, 1] = np.nan
    assert score(without) == pytest.approx([0.4])
    without[0, 0] = 1.0
    assert score(without) == pytest.approx([(0.3 * 1 + 0.48 * 0.4) / 0.78])


def test_a_row_scores_the_same_wherever_it_stands() -> None:
    """Bit for bit, over the edges of the blocks too: a case ranks the same alone and in a batch."""
    rng = np.random.default_rng(2)
    features = rng.random((2 * BLOCK + 3, 8))
    features[rng.random(features.shape) < 0.2] = np.nan
    each = rng.random(features.shape)
    together, own = score(features), score(features, each)
    for row in (0, 1, BLOCK - 1, BLOCK, 2 * BLOCK, 2 * BLOCK + 2):
        assert score(features[row : row + 1])[0] == together[row]
        assert score(features[row : row + 1], each[row : row + 1])[0] == own[row]


def test_a_large_matrix_needs_little_more_than_its_result() -> None:
    features = np.random.default_rng(3).random((500_000, 8))
    tracemalloc.start()
    try:
        result = score(features)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < result.nbytes + features.nbytes / 10


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(3, 7\)"):
        score(np.zeros((3, 7)))
    with pytest.raises(ValueError, match=r"got \(8,\)"):
        score(np.zeros(8))
    with pytest.raises(ValueError, match=r"weights of shape \(8,\) or \(3, 8\), got \(2, 8\)"):
        score(np.zeros((3, 8)), np.ones((2, 8)))
