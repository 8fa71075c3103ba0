"""The order of the rule, its numbers as JSON and back, and its error rates on a few simulated experiments."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import log

import numpy as np
import pytest

from benchmarks.experiments import HALF, SCENARIOS, Scenario, cutoffs, fixed_horizon, peeking, simulate
from litgo_pipelines.experiments.confidence import Moments
from litgo_pipelines.experiments.decision import (
    Arm,
    Cutoff,
    ExperimentDecision,
    ExperimentOutcome,
    ExperimentRules,
    Guardrail,
    Phase,
    decide_experiment,
)
from litgo_pipelines.experiments.fairness import InterimAnalysis

pytestmark = pytest.mark.proof

START = datetime(2026, 3, 1, tzinfo=UTC)
RATING = Guardrail("rating", 0.15)
RULES = ExperimentRules(baseline_rate=0.3, guardrails=(RATING,))
EVEN = InterimAnalysis(1000, 0.31, 0.30, 0.005, 0.4, 999, 7)


def arm(mature: int, conversions: int, rating: float = 4.0, exposed: int | None = None) -> Arm:
    ratings = Moments(mature, rating * mature, (rating**2 + 1) * mature, mature, rating * mature, mature)
    return Arm(exposed or mature, mature, conversions, {"rating": ratings})


def cutoff(
    treatment: Arm, control: Arm, days: float = 20, fraction: float = 0.5, looks: tuple[InterimAnalysis, ...] = (EVEN,)
):
    return Cutoff(START, START + timedelta(days=days), (Phase(fraction, treatment, control),), looks)


GOOD = cutoff(arm(3000, 1080), arm(3000, 900))
BAD = cutoff(arm(3000, 750), arm(3000, 900))
NULL = cutoff(arm(1000, 300), arm(1000, 300))


def outcome(cutoff: Cutoff, **rules: object) -> ExperimentOutcome:
    return decide_experiment(cutoff, replace(RULES, **rules)).outcome  # type: ignore[arg-type]


def test_each_outcome_and_its_words():
    assert outcome(GOOD) is ExperimentOutcome.PROMOTE
    assert outcome(BAD) is ExperimentOutcome.ROLL_BACK
    assert outcome(NULL) is ExperimentOutcome.KEEP_RUNNING
    futile = decide_experiment(cutoff(arm(4000, 1180), arm(4000, 1220)), RULES)
    assert futile.outcome is ExperimentOutcome.FUTILE
    assert futile.predictive_power is not None
    assert futile.predictive_power < 0.05
    assert outcome(cutoff(arm(10_000, 3040), arm(10_000, 3000))) is ExperimentOutcome.HORIZON
    assert outcome(NULL, max_days=19) is ExperimentOutcome.HORIZON
    words = decide_experiment(BAD, RULES).reasons[0]
    assert "treatment converts worse" in words
    assert "limit 20" in words


def test_what_is_as_good_is_promoted_where_no_more_was_to_be_shown():
    equal = cutoff(arm(8000, 2400), arm(8000, 2400))
    rules = replace(RULES, non_inferiority_margin=0.1)
    made = decide_experiment(equal, rules)
    assert made.log_e_claim is not None
    assert made.outcome is ExperimentOutcome.PROMOTE
    assert "converts less by no more than 10%" in made.reasons[0]
    assert made.log_e_claim >= made.log_e_limit > made.log_e_better
    assert outcome(equal) is not ExperimentOutcome.PROMOTE
    assert outcome(BAD, non_inferiority_margin=0.1) is ExperimentOutcome.ROLL_BACK
    rude = cutoff(arm(3000, 1080, rating=3.5), arm(3000, 900))
    assert decide_experiment(rude, rules).outcome is ExperimentOutcome.ROLL_BACK
    early = cutoff(arm(8000, 2400), arm(8000, 2400), days=3)
    assert decide_experiment(early, rules).outcome is ExperimentOutcome.KEEP_RUNNING
    lost = decide_experiment(cutoff(arm(6000, 1630), arm(6000, 1800)), replace(rules, horizon=14_000))
    assert lost.outcome in (ExperimentOutcome.FUTILE, ExperimentOutcome.ROLL_BACK)
    assert ExperimentRules.from_dict(json.loads(json.dumps(rules.as_dict()))) == rules
    with pytest.raises(ValueError, match="non-inferiority"):
        replace(RULES, non_inferiority_margin=1.0)


def test_a_mismatch_comes_before_everything_else():
    lost = replace(GOOD.phases[0].treatment, exposed=4000)
    made = decide_experiment(cutoff(lost, arm(3000, 900, exposed=3400)), RULES)
    assert made.outcome is ExperimentOutcome.HALT
    assert made.log_e_mismatch > log(100)
    assert made.log_e_better >= made.log_e_limit


def test_harm_comes_before_promotion_and_needs_a_hundred_clients_an_arm():
    rude = cutoff(arm(3000, 1080, rating=3.5), arm(3000, 900))
    made = decide_experiment(rude, RULES)
    assert made.outcome is ExperimentOutcome.ROLL_BACK
    assert "rating is worse" in made.reasons[0]
    few = cutoff(arm(99, 2), arm(891, 270), fraction=0.1)
    made = decide_experiment(few, RULES)
    assert made.log_e_worse >= made.log_e_limit
    assert made.outcome is ExperimentOutcome.KEEP_RUNNING
    assert outcome(cutoff(arm(100, 2), arm(900, 270), fraction=0.1)) is ExperimentOutcome.ROLL_BACK


@pytest.mark.parametrize(
    ("changed", "waits"),
    [
        (replace(GOOD, at=START + timedelta(days=6.9)), "6.9 of 7 days"),
        (cutoff(arm(450, 200), arm(450, 135)), "900 of 1,000 clients"),
        (cutoff(arm(3000, 1080, rating=3.92), arm(3000, 900)), "rating may be worse"),
        (replace(GOOD, gini_analyses=()), "no interim analysis of the Gini"),
        (replace(GOOD, gini_analyses=(replace(EVEN, gini_treatment=0.4, p_value=0.2),)), "Gini of offers +0.095"),
    ],
)
def test_what_keeps_a_better_treatment_waiting(changed, waits):
    made = decide_experiment(changed, RULES)
    assert made.log_e_better >= made.log_e_limit
    assert made.outcome is ExperimentOutcome.KEEP_RUNNING
    assert waits in "; ".join(made.blocking)
    assert waits in made.reasons[0]


def test_few_conversions_keep_a_better_treatment_waiting():
    made = decide_experiment(cutoff(arm(5000, 80), arm(5000, 24)), replace(RULES, baseline_rate=0.01))
    assert made.blocking == ("24 of 25 conversions per arm",)


def test_a_surely_less_even_spread_is_harm():
    uneven = replace(EVEN, gini_treatment=0.45, p_value=0.001)
    assert outcome(replace(NULL, gini_analyses=(EVEN, replace(uneven, clients=2000)))) is ExperimentOutcome.ROLL_BACK
    assert outcome(replace(NULL, gini_analyses=(uneven,)), gini_margin=None) is ExperimentOutcome.KEEP_RUNNING
    many = replace(RULES, guardrails=tuple(Guardrail(f"g{number}", 1.0) for number in range(20)))
    assert 1 / (1 + many.permutations) < many.gini_alpha  # so many shuffles that the level can be reached


def test_a_guardrail_takes_back_early_only_what_is_grave() -> None:
    rules = replace(RULES, early_harm_margins=2.0)
    some, grave = (cutoff(arm(2000, 600, rating=4.0 - loss), arm(2000, 600), days=3) for loss in (0.25, 0.5))
    assert 0.25 < 2 * RATING.margin < 0.5
    assert decide_experiment(some, rules).outcome is ExperimentOutcome.KEEP_RUNNING
    assert decide_experiment(grave, rules).outcome is ExperimentOutcome.ROLL_BACK
    assert decide_experiment(some, RULES).outcome is ExperimentOutcome.ROLL_BACK  # as experiments before this rule
    late = cutoff(arm(2000, 600, rating=3.75), arm(2000, 600), days=8)
    assert decide_experiment(late, rules).outcome is ExperimentOutcome.ROLL_BACK


def test_a_lower_is_better_guardrail_is_turned_around():
    rules = replace(RULES, guardrails=(Guardrail("rating", 0.2, higher_is_better=False),))
    assert (
        decide_experiment(cutoff(arm(3000, 1080, rating=3.5), arm(3000, 900)), rules).outcome
        is ExperimentOutcome.PROMOTE
    )
    made = decide_experiment(cutoff(arm(3000, 1080, rating=4.5), arm(3000, 900)), rules)
    assert made.outcome is ExperimentOutcome.ROLL_BACK
    assert made.guardrails[0].bound is not None
    assert made.guardrails[0].bound > 0.5


def test_a_guardrail_that_was_not_read_is_an_error_and_not_no_problem():
    unread = replace(GOOD.phases[0].treatment, guardrails={})
    with pytest.raises(KeyError, match="rating"):
        decide_experiment(cutoff(unread, arm(3000, 900)), RULES)
    assert (
        outcome(cutoff(Arm(), Arm())) is ExperimentOutcome.KEEP_RUNNING
    )  # before the first outcome there is nothing to read


def test_numbers_survive_json_and_give_the_same_decision():
    phases = (Phase(0.1, arm(400, 130), arm(3600, 1080)), Phase(0.5, arm(2000, 640), arm(2000, 600)))
    stored = json.dumps([replace(GOOD, phases=phases).as_dict(), RULES.as_dict()], allow_nan=False)
    again, rules = json.loads(stored)
    assert Cutoff.from_dict(again) == replace(GOOD, phases=phases)
    assert ExperimentRules.from_dict(rules) == RULES
    made = decide_experiment(Cutoff.from_dict(again), ExperimentRules.from_dict(rules))
    assert made == decide_experiment(replace(GOOD, phases=phases), RULES)
    assert set(json.loads(json.dumps(made.as_dict(), allow_nan=False))) == set(ExperimentDecision.__dataclass_fields__)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="mature"):
        Arm(exposed=1, mature=2)
    with pytest.raises(ValueError, match="inside"):
        Phase(1.0, Arm(), Arm())
    with pytest.raises(ValueError, match="timezone"):
        replace(GOOD, at=datetime(2026, 4, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="one name"):
        ExperimentRules(0.3, (RATING, RATING))


def test_predictive_power_is_the_chance_of_reaching_the_limit_by_the_horizon():
    """Against experiments carried on at random from the same cutoff, the difference drawn from what is known of it."""
    rng, runs, n, x = np.random.default_rng(8), 400, 4000, (620, 600)
    made = decide_experiment(cutoff(arm(n // 2, x[0]), arm(n // 2, x[1])), RULES)
    p = sum(x) / n
    lift = (x[0] - x[1]) / (n / 2) + np.sqrt(p * (1 - p) * 4 / n) * rng.standard_normal(runs)
    from litgo_pipelines.experiments.e_process import log_e

    steps = (RULES.horizon - n) // 400
    grown = n / 2 + 200 * np.arange(1, steps + 1)
    t, c = (
        start + rng.binomial(200, np.clip(p + sign * lift / 2, 0, 1), (steps, runs)).cumsum(axis=0)
        for sign, start in ((1, x[0]), (-1, x[1]))
    )
    sizes = np.broadcast_to(grown[:, None, None], (steps, runs, 1))
    reached = (log_e([0.5], sizes, sizes, t[..., None], c[..., None], rate=0.3, side=1) >= log(20)).any(axis=0)
    assert made.predictive_power == pytest.approx(reached.mean(), abs=0.08)


def run(scenario: Scenario, number: int) -> ExperimentOutcome:
    rules = ExperimentRules(0.3, gini_margin=None)
    simulated = simulate(scenario, np.random.default_rng([50, number]))
    for at, cutoff in enumerate(cutoffs(simulated, tuple(share for _, share in scenario.ramp), ())):
        if at % 4 == 3 and (made := decide_experiment(cutoff, rules)).outcome.final:
            return made.outcome
    raise AssertionError("an experiment did not end at its horizon")


def test_simulated_experiments_end_as_they_should():
    """A few runs of the benchmark's scenarios; the error rates themselves are measured there."""
    null = Counter(run(SCENARIOS[5], number) for number in range(60))
    assert null[ExperimentOutcome.PROMOTE] + null[ExperimentOutcome.ROLL_BACK] <= 7  # 99.9 % limit at 5 %
    better = Counter(run(Scenario("+10 %", lift=0.1, ramp=HALF), number) for number in range(40))
    assert better[ExperimentOutcome.PROMOTE] >= 28  # 99 % limit at 85 %
    worse = Counter(run(SCENARIOS[12], number) for number in range(20))
    assert worse[ExperimentOutcome.PROMOTE] == 0
    assert worse[ExperimentOutcome.ROLL_BACK] >= 15


def test_the_rules_it_replaces_declare_differences_that_are_not_there():
    declared = Counter[str]()
    for number in range(60):
        declared.update(k for k, v in peeking(simulate(SCENARIOS[1], np.random.default_rng([60, number]))).items() if v)
    assert declared["peeked"] >= 10
    assert declared["chance"] > declared["peeked"]
    assert declared["once"] <= 9


def test_the_fixed_horizon_figures_are_those_of_statsmodels():
    from statsmodels.stats.proportion import proportions_ztest

    n, x = np.array([[900.0, 8100.0], [5000.0, 5000.0]]), np.array([[300.0, 2400.0], [1530.0, 1490.0]])
    z, chance = fixed_horizon(n, x)
    assert z == pytest.approx([proportions_ztest(x[row], n[row])[0] for row in (0, 1)])
    draws = np.random.default_rng(1).beta(x[1] + 1, n[1] - x[1] + 1, (200_000, 2))
    assert chance[1] == pytest.approx((draws[:, 0] > draws[:, 1]).mean(), abs=0.005)
