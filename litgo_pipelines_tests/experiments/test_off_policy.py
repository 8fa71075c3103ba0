"""IPS and SNIPS: right where the truth is known, careful where it is not, and the figures of real logs."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from benchmarks.off_policy import DEFAULT_FOLDER, measure
from litgo_pipelines.experiments.decision import Arm, Cutoff, Phase
from litgo_pipelines.experiments.off_policy import PolicyEvaluation, Verdict, evaluate_policy, everybody_treated
from litgo_pipelines.experiments.report import off_policy_text

TRUTH = np.array([0.1, 0.3, 0.2, 0.6])
LOGGING = np.array([0.4, 0.3, 0.2, 0.1])
TARGET = np.array([0.1, 0.2, 0.3, 0.4])


def logged(seed: int, rows: int):
    rng = np.random.default_rng(seed)
    action = rng.choice(4, rows, p=LOGGING)
    return (rng.random(rows) < TRUTH[action]).astype(float), LOGGING[action], TARGET[action]


def test_both_estimators_find_the_targets_value_and_their_intervals_hold_it():
    truth, found = float(TARGET @ TRUTH), [evaluate_policy(*logged(seed, 2000)) for seed in range(200)]
    for name in ("ips", "snips"):
        estimates = [getattr(each, name) for each in found]
        values = np.array([each.value for each in estimates])
        assert values.mean() == pytest.approx(truth, abs=4 * values.std() / np.sqrt(200))
        assert np.mean([each.standard_error for each in estimates]) == pytest.approx(values.std(), rel=0.15)
        assert np.mean([each.low <= truth <= each.high for each in estimates]) > 0.9
    assert evaluate_policy(*logged(1, 20_000)).verdict is Verdict.BETTER


def test_worse_is_said_and_the_same_policy_is_no_evidence():
    reward, logging, target = logged(1, 5000)
    same = evaluate_policy(reward, logging, logging)
    assert same.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert same.difference.value == pytest.approx(0)
    assert same.effective_sample_size == pytest.approx(5000)
    assert evaluate_policy(-reward, logging, target).verdict is Verdict.WORSE
    assert json.loads(json.dumps(same.as_dict()))["verdict"] == "not_enough_evidence"


def test_few_effective_rows_or_weights_that_do_not_fit_are_not_evidence():
    reward, logging, target = logged(2, 1500)
    assert "effective rows" in evaluate_policy(reward, logging, target).reason
    reward, logging, target = logged(2, 50_000)
    wrong = evaluate_policy(reward, logging, target / 2)
    assert wrong.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert "do not fit" in wrong.reason


START = datetime(2026, 3, 2, tzinfo=UTC)


def experiment(seed: int, scale: int = 1, lift: float = 0.05) -> Cutoff:
    """Two phases with other shares and another demand; treatment converts `lift` more in both."""
    rng = np.random.default_rng(seed)
    phases = []
    for share, clients, rate in ((0.1, 3000 * scale, 0.3), (0.5, 1500 * scale, 0.1)):
        treated = int(rng.binomial(clients, share))
        arms = [(treated, rate + lift), (clients - treated, rate)]
        phases.append(Phase(share, *(Arm(n, n, int(rng.binomial(n, p))) for n, p in arms)))
    return Cutoff(START, START + timedelta(days=20), tuple(phases))


def evaluation(cutoff: Cutoff) -> PolicyEvaluation:
    found = everybody_treated(cutoff)
    assert found is not None
    return found


def test_an_experiment_says_what_treating_everybody_would_have_given():
    truth = (3000 * 0.35 + 1500 * 0.15) / 4500
    found = [evaluation(experiment(seed)) for seed in range(200)]
    for name in ("ips", "snips", "doubly_robust"):
        estimates = [getattr(each, name) for each in found]
        values = np.array([each.value for each in estimates])
        assert values.mean() == pytest.approx(truth, abs=4 * values.std() / np.sqrt(200))
        assert np.mean([each.low <= truth <= each.high for each in estimates]) > 0.9
    # Pooled over phases, treatment would look worse: it served mostly while demand was low.
    pooled = [sum(p.treatment.conversions for p in experiment(s).phases) for s in range(20)]
    exposed = [sum(p.treatment.mature for p in experiment(s).phases) for s in range(20)]
    assert sum(pooled) / sum(exposed) < truth - 0.05
    robust, ips = (np.std([getattr(each, name).value for each in found]) for name in ("doubly_robust", "ips"))
    assert robust < 0.95 * ips  # it knows that demand differed


def test_more_clients_make_a_verdict_and_a_wrong_split_none():
    assert evaluation(experiment(1)).verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert evaluation(experiment(1, scale=20)).verdict is Verdict.BETTER
    assert evaluation(experiment(1, scale=20, lift=-0.05)).verdict is Verdict.WORSE
    arms = (Arm(3000, 3000, 900), Arm(3000, 3000, 600))
    wrong = evaluation(Cutoff(START, START, (Phase(0.1, *arms),)))
    assert wrong.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert "do not fit" in wrong.reason


def test_the_report_says_it_in_words_or_that_nothing_is_known():
    nothing = Cutoff(START, START, (Phase(0.1, Arm(), Arm(40, 30, 3)),))
    assert everybody_treated(nothing) is None
    assert off_policy_text(None).startswith("no treated client")
    text = off_policy_text(evaluation(experiment(1)))
    for expected in ("everybody treated, IPS", "everybody treated, SNIPS", "doubly robust", "Not enough evidence"):
        assert expected in text
    lonely = Cutoff(START, START, (Phase(0.1, Arm(1, 1, 1), Arm(40, 30, 3)), Phase(0.5, Arm(), Arm(2, 1, 1))))
    robust = evaluation(lonely).doubly_robust
    assert robust is not None
    assert robust.value == pytest.approx(1.0)  # the only treated client converted


def test_rows_of_one_client_are_not_independent():
    reward, logging, target = (np.repeat(column, 4) for column in logged(3, 1000))
    alone = evaluate_policy(reward, logging, target)
    together = evaluate_policy(reward, logging, target, cluster=np.repeat(np.arange(1000), 4))
    assert together.snips.value == alone.snips.value
    assert together.snips.standard_error == pytest.approx(2 * alone.snips.standard_error, rel=0.01)


@pytest.mark.parametrize(
    ("logging", "target"),
    [([0.0, 0.5], [0.5, 0.5]), ([0.5, 0.5], [0.5, 1.5]), ([0.5, 0.5], [0.0, 0.0]), ([0.5], [0.5])],
)
def test_impossible_propensities_are_refused(logging, target):
    with pytest.raises(ValueError, match=r"range|none|length"):
        evaluate_policy([1.0, 0.0], logging, target)


@pytest.mark.skipif(not DEFAULT_FOLDER.exists(), reason="the Open Bandit Dataset is not on this machine")
def test_real_logs_give_the_published_estimates_and_no_verdict():
    found, truth, _ = measure(DEFAULT_FOLDER)
    assert (round(found.ips.value, 4), round(found.snips.value, 4)) == (0.0045, 0.0046)
    assert found.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert truth == pytest.approx(0.0069)
    assert found.snips.low < truth < found.snips.high + 0.002
