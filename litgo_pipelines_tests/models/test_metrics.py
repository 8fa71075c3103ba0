import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.models.metrics import bootstrap, ndcg, paired_difference

queries = st.lists(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from([-1.5, 0.0, 0.25, 0.5, 2.0])), min_size=1, max_size=12),
    min_size=1,
    max_size=8,
)


def plain_ndcg(pairs: list[tuple[int, float]], k: int) -> float:
    """The definition, one query, no arrays."""

    def dcg(labels: list[int]) -> float:
        return sum((2**label - 1) / math.log2(place + 2) for place, label in enumerate(labels[:k]))

    ideal = dcg(sorted((label for label, _ in pairs), reverse=True))
    shown = [label for label, _ in sorted(pairs, key=lambda pair: -pair[1])]  # Python's sort keeps ties in order
    return dcg(shown) / ideal if ideal else math.nan


def arrays(table: list[list[tuple[int, float]]]) -> tuple[list[int], list[float], list[int]]:
    return [p[0] for q in table for p in q], [p[1] for q in table for p in q], [len(q) for q in table]


@given(queries)
def test_equals_the_definition(table: list[list[tuple[int, float]]]) -> None:
    expected = [[plain_ndcg(query, k) for k in (1, 3, 10)] for query in table]
    np.testing.assert_allclose(ndcg(*arrays(table), ks=(1, 3, 10)), expected, rtol=1e-12)


@given(queries)
def test_only_the_order_of_scores_matters_and_best_is_one(table: list[list[tuple[int, float]]]) -> None:
    labels, scores, groups = arrays(table)
    np.testing.assert_array_equal(ndcg(labels, scores, groups), ndcg(labels, np.array(scores) * 3 + 7, groups))
    perfect = ndcg(labels, labels, groups)
    assert ((perfect == 1) | np.isnan(perfect)).all()


def test_equals_lightgbm_where_every_query_has_a_relevant_document() -> None:
    import lightgbm as lgb

    draw = np.random.default_rng(1)
    labels = draw.integers(0, 4, 60)
    labels[::6] = 3
    features, groups = draw.random((60, 3)), np.full(10, 6)
    data = lgb.Dataset(features, labels, group=groups)
    record: dict = {}
    parameters = {"objective": "lambdarank", "eval_at": [3], "min_data_in_leaf": 2, "verbosity": -1, "num_threads": 1}
    booster = lgb.train(parameters, data, 5, valid_sets=[data], callbacks=[lgb.record_evaluation(record)])
    own = ndcg(labels, booster.predict(features), groups, ks=(3,)).mean()
    assert own == pytest.approx(record["training"]["ndcg@3"][-1], abs=1e-9)


def test_refuses_what_has_no_rank() -> None:
    with pytest.raises(ValueError, match="finite"):
        ndcg([1, 0], [np.nan, 0.0], [2])
    with pytest.raises(ValueError, match="sum to 2"):
        ndcg([1, 0], [0.1, 0.0], [3])
    with pytest.raises(ValueError, match="positive"):
        ndcg([1, 0], [0.1, 0.0], [2, 0])


def test_bootstrap_interval_has_the_width_of_the_standard_error() -> None:
    values = np.random.default_rng(2).normal(0.5, 0.2, 400)
    (interval,) = bootstrap(np.r_[values, np.nan])
    assert interval.mean == pytest.approx(values.mean())
    assert (interval.high - interval.low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.15)


def test_bootstrap_of_nothing_is_nan() -> None:
    assert all(math.isnan(i.mean) for i in bootstrap(np.full((3, 2), np.nan)))


def test_pairing_finds_a_small_constant_gain_in_noisy_queries() -> None:
    baseline = np.random.default_rng(3).random(50)
    assert paired_difference(baseline + 0.01, baseline).low > 0.009
    with pytest.raises(ValueError, match="same queries"):
        paired_difference([1.0], [1.0, 2.0])
