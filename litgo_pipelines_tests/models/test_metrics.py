import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.models.metrics import bootstrap, headline_k, judged, ndcg, paired_difference

pytestmark = pytest.mark.proof

queries = st.lists(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from([-1.5, 0.0, 0.25, 0.5, 2.0])), min_size=1, max_size=12),
    min_size=1,
    max_size=8,
)


def plain_ndcg(pairs: list[tuple[int, float]], k: int) -> float:
    """The definition, one query, no arrays: a score's lawyers share the places they take together."""

    def gain(label: float) -> float:
        return 2**label - 1

    def dcg(gains: list[float]) -> float:
        return sum(value / math.log2(place + 2) for place, value in enumerate(gains[:k]))

    if len({label for label, _ in pairs}) < 2:
        return math.nan
    ideal = dcg(sorted((gain(label) for label, _ in pairs), reverse=True))
    shown = []
    for score in sorted({score for _, score in pairs}, reverse=True):
        tied = [gain(label) for label, of in pairs if of == score]
        shown += [sum(tied) / len(tied)] * len(tied)
    return dcg(shown) / ideal


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


@given(queries, st.randoms(use_true_random=False))
def test_the_order_of_rows_favours_nobody(table: list[list[tuple[int, float]]], random: random.Random) -> None:
    mixed = [random.sample(query, len(query)) for query in table]
    np.testing.assert_allclose(ndcg(*arrays(mixed)), ndcg(*arrays(table)), rtol=1e-12)


def test_a_constant_score_gets_what_random_orders_get_on_average() -> None:
    draw = np.random.default_rng(4)
    groups = draw.integers(2, 9, 200)
    labels = draw.integers(0, 4, groups.sum())
    constant = ndcg(labels, np.zeros(len(labels)), groups)
    by_chance = np.mean([ndcg(labels, draw.random(len(labels)), groups) for _ in range(400)], axis=0)
    assert np.nanmean(constant, axis=0) == pytest.approx(np.nanmean(by_chance, axis=0), abs=0.004)
    # Rows in the order of their labels made it perfect before.
    best_first = np.concatenate([np.sort(part)[::-1] for part in np.split(labels, np.cumsum(groups)[:-1])])
    np.testing.assert_allclose(ndcg(best_first, np.zeros(len(labels)), groups), constant, rtol=1e-12)


def test_cases_that_tell_nothing_count_nowhere_and_are_counted() -> None:
    labels, groups = [1, 0, 0, 2, 2, 3, 0], [1, 2, 2, 2]
    values = ndcg(labels, np.arange(7.0), groups)
    assert np.isnan(values[:, 0]).tolist() == [True, True, True, False]
    counts = judged(labels, groups)
    assert (counts.cases, counts.scored, counts.one_lawyer, counts.equal_labels, counts.skipped) == (4, 1, 1, 2, 3)
    assert judged([], []).scored == 0


@pytest.mark.parametrize(("sizes", "k"), [([5, 5, 5], 5), ([5, 5, 10], 5), ([60, 40], 10), ([4, 6, 6], 10), ([], 5)])
def test_the_headline_looks_no_deeper_than_the_lists_go(sizes: list[int], k: int) -> None:
    assert headline_k(sizes) == k


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
