"""Off-policy evaluation: IPS, SNIPS and doubly robust estimates, with errors, of a policy that did not serve. Pure.

A report, never the gate: with rare rewards and ten thousand rows the error is a third to a half of the value. It needs
the probability with which each logged action was chosen, as it was when it was chosen. The arms of an experiment are
such actions; which lawyers a ranking offers is not one, because only chance offers have a probability below 1.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from litgo_pipelines.experiments.decision import Arm, Cutoff

MIN_EFFECTIVE = 1000.0
_MISFIT = 4.0  # standard errors of the mean weight from 1, above which the propensities cannot be right


class Verdict(StrEnum):
    BETTER = "better"
    WORSE = "worse"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


@dataclass(frozen=True)
class Estimate:
    value: float
    standard_error: float
    low: float
    high: float


@dataclass(frozen=True)
class PolicyEvaluation:
    """logged: the serving policy's own mean reward; difference: SNIPS − logged, over the same rows."""

    rows: int
    logged: Estimate
    ips: Estimate
    snips: Estimate
    difference: Estimate
    effective_sample_size: float
    mean_weight: float  # 1 but for chance
    highest_weight: float
    verdict: Verdict
    reason: str
    doubly_robust: Estimate | None = None  # where expected rewards were given

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "verdict": str(self.verdict)}


def evaluate_policy(
    reward: ArrayLike,
    logged_propensity: ArrayLike,
    target_propensity: ArrayLike,
    *,
    cluster: ArrayLike | None = None,
    expected: tuple[ArrayLike, ArrayLike] | None = None,
    confidence: float = 0.95,
    min_effective: float = MIN_EFFECTIVE,
) -> PolicyEvaluation:
    """Value of the target policy from (rows,) rewards and both policies' probabilities of the action that was taken.

    w = target / logged; IPS = mean(w·r), SNIPS = Σw·r / Σw, effective sample size (Σw)² / Σw² (Kish). Intervals are
    normal, SNIPS by the delta method; rows of one `cluster` (rows,), a client say, are summed before their variance is
    taken. `expected`: rewards a model expects, (rows,) each, of the action that was taken and of the target's own;
    doubly robust is then mean(target's + w·(r − taken's)). Better or worse: the difference's interval excludes 0, and
    the effective sample size is large enough.
    Raises ValueError for logged probabilities outside (0, 1], target ones outside [0, 1], no overlap, under two rows.
    """
    r, logged, target = (np.asarray(a, dtype=np.float64) for a in (reward, logged_propensity, target_propensity))
    if not (r.shape == logged.shape == target.shape and r.ndim == 1 and len(r) > 1):
        raise ValueError("columns must be of one length, at least two rows")
    if (
        not ((logged > 0) & (logged <= 1)).all()
        or not ((target >= 0) & (target <= 1)).all()
        or not np.isfinite(r).all()
    ):
        raise ValueError("a reward or a propensity is out of range")
    w = target / logged
    if not w.any():
        raise ValueError("the target policy takes none of the logged actions")
    groups = np.arange(len(r)) if cluster is None else np.unique(np.asarray(cluster), return_inverse=True)[1]
    z = NormalDist().inv_cdf((1 + confidence) / 2)

    def estimate(value: float, influence: NDArray[np.float64]) -> Estimate:
        sums = np.bincount(groups, weights=influence - influence.mean())
        error = float(np.sqrt(sums @ sums * len(sums) / max(len(sums) - 1, 1)) / len(r))
        return Estimate(value, error, value - z * error, value + z * error)

    self_normalised = float((w @ r) / w.sum())
    own = float(r.mean())
    part = w * (r - self_normalised) / w.mean()
    difference = estimate(self_normalised - own, part - (r - own))
    effective = float(w.sum() ** 2 / (w @ w))
    weight = estimate(float(w.mean()), w)
    verdict, reason = _verdict(difference, effective, weight, min_effective)
    return PolicyEvaluation(
        len(r),
        estimate(own, r),
        estimate(float((w * r).mean()), w * r),
        estimate(self_normalised, part),
        difference,
        effective,
        weight.value,
        float(w.max()),
        verdict,
        reason,
        None if expected is None else estimate(*_doubly_robust(r, w, *expected)),
    )


def everybody_treated(cutoff: Cutoff) -> PolicyEvaluation | None:
    """Conversions per client, had the challenger ranked for all clients whose outcome is final; None before the first
    treated one.

    The action is the arm, drawn with the share of the client's phase. The model of rewards is the arm's rate within the
    phase, so that phases in which demand differed are weighed by all their clients.
    """
    treated = Arm(
        mature=sum(p.treatment.mature for p in cutoff.phases),
        exposed=sum(p.treatment.exposed for p in cutoff.phases),
        conversions=sum(p.treatment.conversions for p in cutoff.phases),
    )
    if not treated.mature or treated.mature + sum(p.control.mature for p in cutoff.phases) < 2:
        return None
    cells = []  # clients, reward, logged propensity, target propensity, expected of what was done, of treatment
    for phase in cutoff.phases:
        of_treatment = _rate(phase.treatment if phase.treatment.mature else treated)
        for arm, logged, target in ((phase.treatment, phase.fraction, 1.0), (phase.control, 1 - phase.fraction, 0.0)):
            rest = (logged, target, _rate(arm), of_treatment)
            cells += [(arm.conversions, 1.0, *rest), (arm.mature - arm.conversions, 0.0, *rest)]
    table = np.array(cells)
    reward, logged_propensity, target_propensity, done, own = np.repeat(table[:, 1:], table[:, 0].astype(int), axis=0).T
    return evaluate_policy(reward, logged_propensity, target_propensity, expected=(done, own))


def _rate(arm: Arm) -> float:
    return arm.conversions / arm.mature if arm.mature else 0.0


def _doubly_robust(
    r: NDArray[np.float64], w: NDArray[np.float64], taken: ArrayLike, target: ArrayLike
) -> tuple[float, NDArray[np.float64]]:
    """(value, what each row adds to it)."""
    parts = np.asarray(target, dtype=np.float64) + w * (r - np.asarray(taken, dtype=np.float64))
    return float(parts.mean()), parts


def _verdict(difference: Estimate, effective: float, weight: Estimate, least: float) -> tuple[Verdict, str]:
    span = f"difference {difference.low:+.4g} to {difference.high:+.4g}"
    if abs(weight.value - 1) > _MISFIT * weight.standard_error + 1e-9:
        return Verdict.NOT_ENOUGH_EVIDENCE, f"the mean weight is {weight.value:.3f}, not 1: the propensities do not fit"
    if effective < least:
        return Verdict.NOT_ENOUGH_EVIDENCE, f"{effective:,.0f} effective rows, at least {least:,.0f} are needed; {span}"
    if difference.low <= 0 <= difference.high:
        return Verdict.NOT_ENOUGH_EVIDENCE, f"the interval holds 0: {span}"
    return (Verdict.BETTER if difference.low > 0 else Verdict.WORSE), span
