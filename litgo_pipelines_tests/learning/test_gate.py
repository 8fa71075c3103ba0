import json

import numpy as np
import pytest

from litgo_pipelines.learning.gate import (
    Evenness,
    Freshness,
    GateOutcome,
    GateRules,
    judge_candidate,
    population_stability,
)

RULES = GateRules(min_queries=100, slice_min_queries=30)


def results(gain: float, queries: int = 200, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    baseline = draw.uniform(0.3, 0.7, queries)
    return baseline * (1 + gain) + draw.normal(0, noise, queries), baseline


def test_a_clear_gain_passes() -> None:
    decision = judge_candidate(*results(0.2), RULES)
    assert decision.outcome == GateOutcome.PASSED
    assert decision.lift is not None
    assert decision.lift > 0.05


def test_a_gain_below_the_lift_is_rejected_even_when_certain() -> None:
    decision = judge_candidate(*results(0.03, noise=0.001), RULES)
    assert decision.difference is not None
    assert decision.difference.low > 0
    assert decision.outcome == GateOutcome.REJECTED


def test_a_large_but_uncertain_gain_is_rejected() -> None:
    draw = np.random.default_rng(1)
    baseline = np.full(100, 0.3)
    candidate = np.where(draw.random(100) < 0.37, 1.0, 0.0)
    decision = judge_candidate(candidate, baseline, RULES)
    assert decision.lift is not None
    assert decision.lift >= 0.05
    assert decision.outcome == GateOutcome.REJECTED
    assert "chance" in decision.reasons[0]


def test_too_few_scored_queries_are_not_enough_evidence() -> None:
    candidate, baseline = results(0.5, queries=150)
    candidate[:60] = baseline[:60] = np.nan
    decision = judge_candidate(candidate, baseline, RULES)
    assert decision.outcome == GateOutcome.NOT_ENOUGH_EVIDENCE
    assert (decision.queries, decision.skipped) == (90, 60)
    assert judge_candidate(np.full(5, np.nan), np.full(5, np.nan), RULES).outcome == GateOutcome.NOT_ENOUGH_EVIDENCE


def test_without_a_baseline_nothing_passes() -> None:
    assert judge_candidate(results(1.0)[0], None, RULES).outcome == GateOutcome.REJECTED


def test_a_model_that_changed_on_the_way_never_passes() -> None:
    assert (
        judge_candidate(*results(0.5), RULES, reload_problems=("another prediction",)).outcome == GateOutcome.REJECTED
    )


def test_different_queries_are_an_error() -> None:
    candidate, baseline = results(0.2)
    with pytest.raises(ValueError, match="same queries"):
        judge_candidate(candidate[:-1], baseline, RULES)
    candidate[0] = np.nan
    with pytest.raises(ValueError, match="different queries"):
        judge_candidate(candidate, baseline, RULES)


@pytest.mark.parametrize("level", [0.3, 0.5, 0.7, 0.9])
def test_what_is_exactly_at_a_limit_is_inside(level: float) -> None:
    """Whatever floating point makes of it: 5 % better, 1 % of the champion's NDCG worse, a Gini .02 higher."""
    champion = np.full(200, level)
    better = judge_candidate(champion * 1.05, champion, RULES, evenness=Evenness(level + 0.02, level))
    assert better.outcome == GateOutcome.PASSED
    for equal in (champion * 0.99, champion - 0.01 * level):
        assert judge_candidate(equal, champion, RULES, freshness=Freshness(30, 10)).way == "fresher"
    worse = judge_candidate(champion * 0.9899, champion, RULES, freshness=Freshness(30, 10))
    assert worse.outcome == GateOutcome.REJECTED
    assert judge_candidate(champion * 1.0499, champion, RULES).outcome == GateOutcome.REJECTED


def test_a_candidate_that_is_the_champion_again_is_no_better() -> None:
    _, champion = results(0.0)
    same = judge_candidate(champion, champion, RULES, freshness=Freshness(29, 10))
    assert (same.outcome, same.lift) == (GateOutcome.REJECTED, 0.0)
    nothing = np.zeros(200)
    assert judge_candidate(nothing, nothing, RULES).outcome == GateOutcome.REJECTED
    json.dumps(judge_candidate(champion, nothing, RULES).as_dict(), allow_nan=False)


def test_a_rule_that_was_scored_on_other_queries_is_an_error() -> None:
    candidate, baseline = results(0.2)
    for other in (baseline[:-1], np.full(200, np.nan), np.where(np.arange(200) < 3, np.nan, baseline)):
        with pytest.raises(ValueError, match="queries"):
            judge_candidate(candidate, baseline, RULES, rivals={"nearest": other})


def test_a_slice_that_is_clearly_worse_vetoes_and_a_small_one_cannot() -> None:
    candidate, baseline = results(0.3, queries=400, noise=0.02)
    big, small = np.arange(400) < 60, np.arange(400) >= 390
    candidate[big] = baseline[big] * 0.7
    candidate[small] = baseline[small] * 0.7
    slices = {"uf AC": small, "area Civil": ~big & ~small}
    assert judge_candidate(candidate, baseline, RULES, slices=slices).outcome == GateOutcome.PASSED
    decision = judge_candidate(candidate, baseline, RULES, slices={**slices, "area Penal": big})
    assert decision.outcome == GateOutcome.REJECTED
    assert [r.name for r in decision.slices if r.veto] == ["area Penal"]


def test_many_slices_do_not_veto_by_chance() -> None:
    draw = np.random.default_rng(7)
    baseline = draw.uniform(0.2, 0.8, 1000)
    candidate = baseline + 0.05 + draw.normal(0, 0.2, 1000)
    slices = {f"slice {n}": np.arange(1000) // 40 == n for n in range(25)}
    assert not [r for r in judge_candidate(candidate, baseline, RULES, slices=slices).slices if r.veto]


def test_the_decision_is_plain_json() -> None:
    decision = judge_candidate(*results(0.2), RULES, slices={"all": np.ones(200, dtype=bool)})
    assert json.loads(json.dumps(decision.as_dict(), allow_nan=False))["outcome"] == "passed"


def test_population_stability() -> None:
    draw = np.random.default_rng(0)
    before = draw.random(5000)
    assert population_stability(before, draw.random(5000)) < 0.02
    assert population_stability(before, draw.random(5000) ** 3) > 0.25
    assert population_stability(before, np.where(draw.random(5000) < 0.5, np.nan, before)) > 0.25
    assert np.isnan(population_stability([], before))


FRESH = Freshness(newer_days=31, champion_days=40)


@pytest.mark.parametrize(
    ("freshness", "outcome"),
    [
        (None, "rejected"),
        (FRESH, "passed"),
        (Freshness(29, 59), "rejected"),
        (Freshness(5, 61), "passed"),
        (Freshness(0, 400), "rejected"),  # the champion's own data once more
        (Freshness(-40, 400), "rejected"),
    ],
)
def test_as_good_and_fresher_is_the_second_way(freshness: Freshness | None, outcome: str) -> None:
    decision = judge_candidate(*results(0.001, noise=0.01), RULES, freshness=freshness)
    assert decision.difference is not None
    assert decision.difference.low < 0
    assert decision.outcome == outcome
    if outcome == "passed":
        assert decision.way == "fresher"
        assert "as good and fresher" in decision.reasons[1]
        stored = json.loads(json.dumps(decision.as_dict(), allow_nan=False))
        assert (stored["way"], stored["freshness"]) == ("fresher", vars(freshness))


def test_what_is_better_goes_the_first_way_however_fresh() -> None:
    assert judge_candidate(*results(0.2), RULES, freshness=FRESH).way == "better"


def test_fresher_is_no_excuse_for_worse_nor_for_anything_else() -> None:
    worse = judge_candidate(*results(-0.02, noise=0.01), RULES, freshness=FRESH)
    assert (worse.outcome, worse.way) == (GateOutcome.REJECTED, "better")
    good = results(0.001, noise=0.01)
    better_rule = judge_candidate(*good, RULES, freshness=FRESH, rivals={"nearest": good[1] * 1.1})
    assert (better_rule.outcome, len(better_rule.reasons)) == (GateOutcome.REJECTED, 1)
    uneven = judge_candidate(*good, RULES, freshness=FRESH, evenness=Evenness(0.31, 0.28))
    assert (uneven.outcome, len(uneven.reasons)) == (GateOutcome.REJECTED, 1)
    few = judge_candidate(*good, GateRules(min_queries=500), freshness=FRESH)
    assert few.outcome == GateOutcome.NOT_ENOUGH_EVIDENCE


def test_a_model_that_spreads_offers_less_evenly_is_rejected() -> None:
    better = results(0.2)
    assert judge_candidate(*better, RULES, evenness=Evenness(0.29, 0.28)).outcome == GateOutcome.PASSED
    uneven = judge_candidate(*better, RULES, evenness=Evenness(0.31, 0.28))
    assert (uneven.outcome, len(uneven.reasons)) == (GateOutcome.REJECTED, 1)
    assert "Gini 0.310 against 0.280" in uneven.reasons[0]
    assert judge_candidate(*better, RULES, evenness=Evenness(float("nan"), 0.28)).outcome == GateOutcome.REJECTED


def test_a_candidate_no_better_than_the_best_rule_is_rejected_with_that_reason() -> None:
    candidate, baseline = results(0.2, noise=0.02)
    weak = {"nearest": baseline * 0.8, "at random": baseline * 0.7}
    passed = judge_candidate(candidate, baseline, RULES, rivals=weak)
    assert passed.outcome == GateOutcome.PASSED
    assert [rival.name for rival in passed.rivals] == ["nearest", "at random"]  # the best first
    as_good = candidate + np.random.default_rng(3).normal(0, 0.05, len(candidate))
    decision = judge_candidate(candidate, baseline, RULES, rivals={**weak, "recent acceptances": as_good})
    assert (decision.outcome, len(decision.reasons)) == (GateOutcome.REJECTED, 1)
    assert "no better than the rule «recent acceptances»" in decision.reasons[0]
    assert json.loads(json.dumps(decision.as_dict(), allow_nan=False))["rivals"][0]["name"] == "recent acceptances"
