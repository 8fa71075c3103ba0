from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from litgo_pipelines.models import scorer
from litgo_pipelines.models.learners import KINDS, Recipe, Rows, dataset
from litgo_pipelines.models.metrics import ndcg, tells_apart
from litgo_pipelines.models.training import (
    Curve,
    NothingToLearn,
    Tried,
    choose,
    cross_validate,
    dealt,
    expanding_window,
    newest,
    train,
)

pytestmark = pytest.mark.proof

SMALL = Recipe(folds=2, max_rounds=60, patience=20, min_data_in_leaf=10, feature_fraction=1.0, learning_rate=0.1)
POSITION = "lambdamart, position"
NAMES = ("U", "Q")  # no rule goes by them


def rows(queries: int = 150, size: int = 6, seed: int = 0) -> Rows:
    """Relevance grows with the first feature; the second is noise."""
    draw = np.random.default_rng(seed)
    features = draw.random((queries * size, 2))
    labels = np.clip((features[:, 0] * 4 + draw.normal(0, 0.5, len(features))).astype(int), 0, 3)
    position = np.tile(np.arange(size), queries)
    return Rows(features, labels, np.full(queries, size), position, NAMES)


def test_learns_repeats_and_ignores_the_number_of_threads() -> None:
    data, test = rows(), rows(seed=1)
    first = train(data, SMALL, [0, 1])
    again = train(data, replace(SMALL, max_threads=1), [0, 1])
    scores = [one.scores(test.features) for one in first.scorers]
    np.testing.assert_array_equal(scores[0], again.scorers[0].scores(test.features))
    assert np.nanmean(ndcg(test.labels, scores[0], test.groups, (3,))) > 0.9
    assert (first.chosen, first.rounds) == (again.chosen, again.rounds)
    assert set(KINDS) < set(first.field)


def test_position_is_kept_only_where_it_wins() -> None:
    data = rows(queries=300)
    trees = replace(SMALL, kinds=("lambdamart",))
    assert train(data.without_position(), trees, [0]).field.keys() == {"lambdamart"}
    trained = train(data, trees, [0])
    best = {name: tried.curve.best for name, tried in trained.field.items()}
    assert trained.uses_position == (best[POSITION] > best["lambdamart"])


def test_position_corrects_logs_that_a_bad_ranking_made() -> None:
    """Shown by a score that opposes relevance, and answered mostly at the top: the correction wins in the truth."""
    draw = np.random.default_rng(5)
    queries, size = 600, 6
    x = np.sort(draw.random((queries, size)), axis=1)  # the worst is shown first
    seen = draw.random((queries, size)) < 1 / (1 + np.arange(size))
    labels = (seen & (draw.random((queries, size)) < x)).astype(int).ravel()
    features = np.c_[x.ravel(), draw.random(queries * size)]
    biased = Rows(features, labels, np.full(queries, size), np.tile(np.arange(size), queries))
    test = rows(seed=9)

    def truth(data: Rows) -> float:
        import lightgbm as lgb

        parameters = SMALL.parameters(0)
        booster = lgb.train(parameters, dataset(data, parameters), 40)
        return float(np.nanmean(ndcg(test.labels, booster.predict(test.features), test.groups, (3,))))

    assert truth(biased) > truth(biased.without_position()) + 0.05


def test_a_query_with_one_document_is_no_problem() -> None:
    data = rows()
    single = Rows(
        np.r_[data.features, [[0.5, 0.5]]], np.r_[data.labels, 3], np.r_[data.groups, 1], np.r_[data.position, 0], NAMES
    )
    assert len(train(single, SMALL, [0]).scorers) == 1


def test_nothing_to_learn_is_said_clearly() -> None:
    data = rows()
    with pytest.raises(NothingToLearn, match="no preference"):
        train(replace(data, labels=np.zeros_like(data.labels)), SMALL, [0])
    with pytest.raises(NothingToLearn, match="too few"):
        train(rows(queries=3), SMALL, [0])


@pytest.mark.parametrize("value", [1.0, float("nan"), float("inf")])
def test_features_that_are_all_alike_or_missing_are_nothing_to_learn_from(value: float) -> None:
    data = rows()
    with pytest.raises(NothingToLearn, match="no feature tells one row from another"):
        train(replace(data, features=np.full_like(data.features, value)), SMALL, [0])


@pytest.mark.parametrize(
    "gaps",
    [
        lambda n, x: np.where(n[:, None] < 400, np.nan, x),  # a feature that is younger than the first folds
        lambda n, x: np.where(n[:, None] >= 400, np.nan, x),  # … and one that no longer comes
        lambda n, x: np.where(x > 0.98, np.inf, np.where(x < 0.02, -np.inf, x)),
        lambda n, x: np.where(x > 0.5, 0.5, np.nan),
        lambda n, x: x * 1e-300,  # LightGBM takes them all for zero
        lambda n, x: np.repeat(x[::6], 6, axis=0),  # all lawyers of a case are alike
    ],
)
def test_features_with_gaps_give_a_ranker_that_scores_every_row(gaps: Callable[..., np.ndarray]) -> None:
    data = rows()
    data = replace(data, features=gaps(np.arange(len(data.labels)), data.features))
    trained = train(data, SMALL, [0])
    kept = scorer.loads(scorer.dumps(trained.scorers[0]))
    given = np.where(np.isinf(data.features), np.nan, data.features)
    some = replace(data, features=given).columns(kept.names).features
    assert np.isfinite(kept.scores(some)).all()
    assert np.isfinite(kept.parts(some)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_learns_from_few_rows_labels_of_one_half_and_a_crowded_case(kind: str) -> None:
    alone = replace(SMALL, kinds=(kind,))
    data = rows().without_position()
    first, last = data.labels.copy(), data.labels.copy()
    first[:450], last[450:] = 0, 0
    few = rows(queries=8, size=2).without_position()  # in the first fold too few for two leaves
    draw = np.random.default_rng(2)
    groups = np.r_[np.full(40, 5), 10_001]
    features = draw.random((int(groups.sum()), 2))
    crowded = Rows(features, (features[:, 0] * 4).astype(int), groups, None, NAMES)
    for odd in (replace(data, labels=first), replace(data, labels=last), few, crowded):
        assert np.isfinite(train(odd, alone, [0]).scorers[0].scores(odd.features)).all()


def test_folds_never_validate_on_the_past_and_never_split_a_query() -> None:
    for training, validation in expanding_window(4)(50):
        assert training.max() < validation.min()
        assert len(training)
    every = np.concatenate([validation for _, validation in dealt(4)(50)])
    assert sorted(every) == list(range(50))


def test_take_keeps_whole_queries() -> None:
    data = Rows(np.arange(6.0)[:, None], np.arange(6), np.array([1, 2, 3]), np.arange(6))
    some = data.take(np.array([0, 2]))
    assert some.labels.tolist() == [0, 3, 4, 5]
    assert some.groups.tolist() == [1, 3]
    assert data.take(np.array([0, 1])).labels.tolist() == [0, 1, 2]


def test_rounds_are_the_fewest_within_half_a_standard_error_and_not_below_the_minimum() -> None:
    draw = np.random.default_rng(0)
    easy = draw.random(400)
    rounds = np.array([10, 20, 30, 40, 50])
    level = np.array([0.2, 0.5, 0.7, 0.7004, 0.6])
    curve = Curve(rounds, level[:, None] + easy + draw.normal(0, 0.02, (5, 400)), min_rounds=20)
    assert int(np.argmax(curve.mean)) in (2, 3)
    assert curve.best_round == 30
    assert Curve(rounds, curve.values[::-1], min_rounds=40).best_round == 40  # the best is too early
    assert Curve(rounds, np.empty((5, 0)), min_rounds=20).best_round == 50


def test_an_entry_far_behind_the_leader_is_given_no_more_rounds() -> None:
    """What is learned from noise cannot catch up; an equal of the leader is given all its rounds."""
    data = rows().without_position()
    patient = replace(SMALL, max_rounds=200, patience=200)
    split = expanding_window(2)
    leader = cross_validate(data, patient, split, 0, "regression")
    free = cross_validate(data, patient, split, 1, "softmax", leader)
    assert free.curve.rounds[-1] == leader.curve.rounds[-1] == 200
    draw = np.random.default_rng(4)
    blind = replace(data, features=draw.random(data.features.shape))
    stopped = cross_validate(blind, patient, split, 0, "regression", leader)
    assert patient.min_rounds <= stopped.curve.rounds[-1] < 100


def test_kinds_that_are_level_are_blended_and_one_far_behind_is_not() -> None:
    data, split = rows(queries=300, size=8), dealt(3)
    draw = np.random.default_rng(6)
    futures = [data.take(validation[tells_apart(data.labels, data.groups)[validation]]) for _, validation in split(300)]

    def entry(name: str, noise: float) -> Tried:
        scores = [future.labels + draw.normal(0, noise, len(future.labels)) for future in futures]
        told = zip(futures, scores, strict=True)
        cases = np.concatenate([ndcg(f.labels, said, f.groups, (10,))[:, 0] for f, said in told])
        return Tried(name, name, Curve(np.array([30]), cases[None, :]), scores, 0.0)

    tried = {name: entry(name, noise) for name, noise in (("linear", 1.0), ("softmax", 1.0), ("regression", 3.0))}
    field, chosen = choose(tried, data, split)
    assert set(chosen.split(" + ")) == {"linear", "softmax"}
    assert field[chosen].curve.best > max(one.curve.best for one in tried.values()) + 0.01
    assert choose(tried, data, split, members=1)[1] in ("linear", "softmax")
    twin = tried | {"lambdamart": entry("lambdamart", 1.0)}
    assert len(choose(twin, data, split)[1].split(" + ")) == 3


def test_a_rule_stays_where_nothing_learned_beats_it() -> None:
    draw = np.random.default_rng(1)
    features = draw.random((300 * 6, 2))
    labels = (features[:, 0] * 4).astype(int).clip(0, 3)
    data = Rows(features, labels, np.full(300, 6), None, ("R", "G"))
    trained = train(data, SMALL, [0, 1])
    assert (trained.kind, trained.chosen) == ("rule", "rule: rating")
    assert trained.names == ("R",)
    turned = replace(data, labels=3 - labels)  # the rule is wrong: what is learned wins
    assert train(turned, SMALL, [0]).kind != "rule"


def test_features_that_tell_nothing_are_left_out() -> None:
    data = rows()
    wide = np.column_stack([data.features, np.full(len(data.labels), np.nan), np.ones(len(data.labels))])
    named = replace(data, features=wide, names=("U", "Q", "S", "A"))
    assert named.usable() == ("U", "Q")
    assert train(named, SMALL, [0]).names == ("U", "Q")
    assert np.isnan(named.columns(("C", "U")).features[:, 0]).all()


def test_a_large_set_is_chosen_on_its_newest_whole_cases() -> None:
    data = rows(queries=50)
    some = newest(data, 100)
    assert (len(some.groups), some.labels.tolist()) == (16, data.labels[-96:].tolist())
    assert newest(data, 300) is data


@pytest.mark.slow
def test_reaches_the_reference_on_the_lambdarank_example() -> None:
    reference = import_module("benchmarks.lambdarank_reference")
    folder: Path = reference.DEFAULT_FOLDER
    if not (folder / "rank.train").exists():
        pytest.skip(f"the LightGBM example's data are not at {folder.name}")
    _, values = reference.measure(folder)
    assert values[:, -1].mean() >= 0.75
