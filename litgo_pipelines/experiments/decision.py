"""Decision on an experiment at one closed cutoff: a pure function of the sums stored for it.

The sensor and a replay call `decide_experiment`; equal cutoffs and rules give equal decisions and numbers. The rules
hold for the whole experiment and are part of its hashed specification. Which clients are counted, how cutoffs are
closed, and what a decision does to the models that serve are not here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from math import ceil, exp, log, sqrt
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.experiments import confidence, e_process, srm
from litgo_pipelines.experiments.confidence import Moments
from litgo_pipelines.experiments.fairness import PERMUTATIONS, InterimAnalysis, interim_points

HOURS, RATING = "hours_to_accept", "rating"  # guardrails whose sums an experiment makes
BETTER = "converts better"  # the claim of an experiment that has to show an improvement
_STORED_ANALYSES = "gini_looks"  # key of the interim analyses in a stored cutoff
_DRAWS = 400  # quantiles of the predictive distribution
_REACHED = 1.25  # paths that reach the limit by the horizon / are at it there: 1.14–1.40 in simulated paths


class ExperimentOutcome(StrEnum):
    HALT = "halt"  # the data are not to be trusted: everybody on control, alert
    ROLL_BACK = "roll_back"  # treatment does harm: everybody on control
    PROMOTE = "promote"
    FUTILE = "futile"  # keep control
    HORIZON = "horizon"  # keep control
    KEEP_RUNNING = "keep_running"

    @property
    def final(self) -> bool:
        return self is not ExperimentOutcome.KEEP_RUNNING


@dataclass(frozen=True)
class Guardrail:
    """A mean or ratio that must not get worse: `margin` is how much worse still counts as the same, in its own unit.

    cap: what larger values of a client count as; who sums the clients applies it (`confidence.moments`).
    """

    name: str
    margin: float
    higher_is_better: bool = True
    cap: float | None = None

    def __post_init__(self) -> None:
        if not self.margin > 0:
            raise ValueError(f"margin of {self.name} must be above 0")


@dataclass(frozen=True)
class ExperimentRules:
    """An experiment's rules, fixed before its first exposure. Numbers of clients are of both arms unless said."""

    baseline_rate: float  # conversion expected, from before the experiment
    guardrails: tuple[Guardrail, ...] = ()
    alpha: float = 0.05  # a side
    sd: float = e_process.SD
    grid: int = e_process.GRID
    min_days: float = 7
    min_sample_size: int = 1000  # clients whose outcome is final
    min_conversions: int = 25  # an arm
    min_clients_harm: int = 100  # an arm
    early_harm_margins: float = 0.0  # before min_days a guardrail rolls back beyond so many margins; 0: at any loss
    mismatch_limit: float = 100
    mismatch_concentration: float = srm.CONCENTRATION
    gini_margin: float | None = 0.02  # None: offers' distribution is no part of this experiment
    futility_power: float = 0.05
    futility_information: float = 0.2
    horizon: int = 20_000  # clients whose outcome is final
    max_days: float | None = 90  # an experiment with too little traffic ends too
    tuning: float = confidence.TUNING
    non_inferiority_margin: float | None = None  # of control's rate: promoted if not worse by it; None: if better

    def __post_init__(self) -> None:
        names = [guardrail.name for guardrail in self.guardrails]
        if len(set(names)) < len(names):
            raise ValueError("two guardrails of one name")
        if not (0 < self.baseline_rate < 1 and 0 < self.alpha < 0.5 and self.horizon > 0 and self.tuning > 0):
            raise ValueError("baseline_rate, alpha, horizon or tuning out of range")
        if self.non_inferiority_margin is not None and not 0 < self.non_inferiority_margin < 1:
            raise ValueError("a margin of non-inferiority lies inside (0, 1)")

    @property
    def claim(self) -> str:
        """What the experiment has to show of treatment."""
        margin = self.non_inferiority_margin
        return BETTER if margin is None else f"converts less by no more than {margin:.0%}"

    @property
    def guardrail_alpha(self) -> float:
        """Level of each guardrail's two-sided interval; the Gini counts as one."""
        return self.alpha / max(1, len(self.guardrails) + (self.gini_margin is not None))

    @property
    def gini_alpha(self) -> float:
        """Level of one interim analysis of the Gini."""
        return self.guardrail_alpha / max(1, sum(1 for _ in interim_points(self.horizon)))

    @property
    def permutations(self) -> int:
        """Shuffles of an interim analysis of the Gini: enough for its p-value to get below `gini_alpha`."""
        return max(PERMUTATIONS, ceil(2 / self.gini_alpha))

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "guardrails": [asdict(guardrail) for guardrail in self.guardrails]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ExperimentRules":
        guardrails = tuple(Guardrail(**guardrail) for guardrail in values.get("guardrails", ()))
        return cls(**{**values, "guardrails": guardrails})


@dataclass(frozen=True)
class Arm:
    """Clients of one arm first exposed in one phase: all, those with a final outcome, and how many of these converted;
    sums of each guardrail over clients for whom it is final."""

    exposed: int = 0
    mature: int = 0
    conversions: int = 0
    guardrails: Mapping[str, Moments] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.conversions <= self.mature <= self.exposed:
            raise ValueError("conversions ≤ mature ≤ exposed does not hold")


@dataclass(frozen=True)
class Phase:
    """A stretch of the experiment with one treated share, inside (0, 1)."""

    fraction: float
    treatment: Arm
    control: Arm

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise ValueError("the treated share of a phase must lie inside (0, 1)")


@dataclass(frozen=True)
class Cutoff:
    """Everything known at one instant, cumulative; phases in the order they ran, the last one is the current."""

    started_at: datetime
    at: datetime
    phases: tuple[Phase, ...]
    gini_analyses: tuple[InterimAnalysis, ...] = ()

    def __post_init__(self) -> None:
        if self.started_at.tzinfo is None or self.at.tzinfo is None or self.at < self.started_at:
            raise ValueError("instants need a timezone, and a cutoff lies after the start")
        if not self.phases:
            raise ValueError("an experiment has at least one phase")

    def as_dict(self) -> dict[str, object]:
        """Plain JSON values; `from_dict` gives an equal cutoff."""
        values = {**asdict(self), "started_at": self.started_at.isoformat(), "at": self.at.isoformat()}
        values[_STORED_ANALYSES] = values.pop("gini_analyses")
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Cutoff":
        return cls(
            datetime.fromisoformat(values["started_at"]),
            datetime.fromisoformat(values["at"]),
            tuple(Phase(p["fraction"], _arm(p["treatment"]), _arm(p["control"])) for p in values["phases"]),
            tuple(InterimAnalysis(**analysis) for analysis in values[_STORED_ANALYSES]),
        )


def _arm(values: Mapping[str, Any]) -> Arm:
    return Arm(**{**values, "guardrails": {name: Moments(**m) for name, m in values["guardrails"].items()}})


@dataclass(frozen=True)
class GuardrailResult:
    """Treatment − control in the guardrail's unit; `low`, `high`: two-sided at the divided level; `bound`: the worst it
    may be, one-sided at alpha. All None with fewer than 100 clients per arm."""

    name: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    bound: float | None = None
    worse: bool = False
    inside_margin: bool = False


@dataclass(frozen=True)
class ExperimentDecision:
    """The outcome, why in words, and every number that was used; a number that does not exist yet is None."""

    outcome: ExperimentOutcome
    reasons: tuple[str, ...]
    days: float
    mature: tuple[int, int]  # treatment, control
    conversions: tuple[int, int]
    log_e_better: float
    log_e_worse: float
    log_e_limit: float
    log_e_mismatch: float
    information: float  # share of what the horizon will give
    lift: float | None  # relative, over phases
    predictive_power: float | None  # None before `futility_information`
    guardrails: tuple[GuardrailResult, ...] = ()
    gini_excess: float | None = None
    gini_p_value: float | None = None
    blocking: tuple[str, ...] = ()  # what keeps a treatment that showed its claim from being promoted
    log_e_claim: float | None = None  # for what the experiment has to show; None in decisions of earlier code

    def as_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return {**asdict(self), "outcome": str(self.outcome)}


@dataclass(frozen=True)
class _Evidence:
    """The numbers of one cutoff that the outcome follows from."""

    days: float
    exposed: tuple[int, int]  # treatment, control, as all pairs
    mature: tuple[int, int]
    conversions: tuple[int, int]
    better: float  # log e
    worse: float
    claim: float
    limit: float
    mismatch: float
    information: float
    lift: float | None
    power: float | None
    guardrails: tuple[GuardrailResult, ...]
    gini_analyses: tuple[InterimAnalysis, ...]

    @property
    def gini(self) -> InterimAnalysis | None:
        """The analysis of the most clients."""
        return max(self.gini_analyses, key=lambda analysis: analysis.clients, default=None)


class _Verdict(NamedTuple):
    outcome: ExperimentOutcome
    reasons: tuple[str, ...]
    blocking: tuple[str, ...] = ()


def decide_experiment(cutoff: Cutoff, rules: ExperimentRules) -> ExperimentDecision:
    """The first of: halt, roll back, promote, futile, horizon, keep running; see docs/experiments.md.

    Raises KeyError when a guardrail of the rules is missing from an arm that has clients with a final outcome: a
    figure that was not read is never "no problem".
    """
    seen = _evidence(cutoff, rules)
    verdict = _verdict(seen, rules)
    gini = seen.gini
    return ExperimentDecision(
        outcome=verdict.outcome,
        reasons=verdict.reasons,
        days=seen.days,
        mature=seen.mature,
        conversions=seen.conversions,
        log_e_better=seen.better,
        log_e_worse=seen.worse,
        log_e_limit=seen.limit,
        log_e_mismatch=seen.mismatch,
        information=seen.information,
        lift=seen.lift,
        predictive_power=seen.power,
        guardrails=seen.guardrails,
        gini_excess=gini.excess if gini else None,
        gini_p_value=gini.p_value if gini else None,
        blocking=verdict.blocking,
        log_e_claim=seen.claim,
    )


def _evidence(cutoff: Cutoff, rules: ExperimentRules) -> _Evidence:
    phases = cutoff.phases
    fraction = [phase.fraction for phase in phases]
    n = np.array([[p.treatment.mature, p.control.mature] for p in phases], dtype=np.float64)
    x = np.array([[p.treatment.conversions, p.control.conversions] for p in phases], dtype=np.float64)
    exposed = np.array([[p.treatment.exposed, p.control.exposed] for p in phases])
    mature = _by_arm(n)
    limit = log(1 / rules.alpha)
    information, remaining = _information(n, fraction[-1], rules.horizon)
    power = None
    if 0 < information < 1 and information >= rules.futility_information and min(mature) >= 2:
        power = _predictive_power(fraction, n, x, remaining, limit, rules)
    return _Evidence(
        days=(cutoff.at - cutoff.started_at) / timedelta(days=1),
        exposed=_by_arm(exposed),
        mature=mature,
        conversions=_by_arm(x),
        better=float(_log_e(fraction, n, x, rules, 1)),
        worse=float(_log_e(fraction, n, x, rules, -1)),
        claim=float(log_e_of_claim(fraction, n, x, rules)),
        limit=limit,
        mismatch=float(srm.log_e(fraction, exposed[:, 0], exposed[:, 1], rules.mismatch_concentration)),
        information=information,
        lift=_lift(n, x),
        power=power,
        guardrails=tuple(_guardrail(guardrail, phases, rules) for guardrail in rules.guardrails),
        gini_analyses=cutoff.gini_analyses,
    )


def _by_arm(counts: np.ndarray) -> tuple[int, int]:
    """(phases, 2) counts as totals of treatment and control."""
    treatment, control = counts.sum(axis=0)
    return int(treatment), int(control)


def _verdict(seen: _Evidence, rules: ExperimentRules) -> _Verdict:
    if seen.mismatch > log(rules.mismatch_limit):
        treated, control = seen.exposed
        return _Verdict(
            ExperimentOutcome.HALT,
            (
                f"the arms hold {treated:,} and {control:,} clients, which the split does not explain: e-value "
                f"{_e(seen.mismatch)}, limit {rules.mismatch_limit:g}; no figure of this experiment is to be trusted",
            ),
        )
    if harm := _harm(seen, rules):
        return _Verdict(ExperimentOutcome.ROLL_BACK, harm)
    blocking: tuple[str, ...] = ()
    if seen.claim >= seen.limit:
        blocking = _blocking(seen, rules)
        if not blocking:
            reason = f"treatment {rules.claim}: e-value {_e(seen.claim)}, limit {_e(seen.limit)}"
            return _Verdict(ExperimentOutcome.PROMOTE, (reason,))
    outcome, reason = _end_or_continue(seen, rules, blocking)
    return _Verdict(outcome, (reason,), blocking)


def _harm(seen: _Evidence, rules: ExperimentRules) -> tuple[str, ...]:
    """What treatment does worse than control, beyond doubt."""
    if min(seen.mature) < rules.min_clients_harm:
        return ()
    harm = []
    if seen.worse >= seen.limit:
        harm.append(f"treatment converts worse: e-value {_e(seen.worse)}, limit {_e(seen.limit)}")
    harm += [
        f"{result.name} is worse: difference {result.difference:+.4g}, interval {result.low:+.4g} to {result.high:+.4g}"
        for guardrail, result in zip(rules.guardrails, seen.guardrails, strict=True)
        if result.worse and (seen.days >= rules.min_days or _grave(guardrail, result, rules))
    ]
    if rules.gini_margin is not None:
        harm += [
            f"offers are spread less evenly: Gini {analysis.excess:+.3f} at {analysis.clients:,} clients, "
            f"p {analysis.p_value:.4f}"
            for analysis in seen.gini_analyses
            if analysis.excess > rules.gini_margin and analysis.p_value <= rules.gini_alpha
        ]
    return tuple(harm)


def _end_or_continue(
    seen: _Evidence, rules: ExperimentRules, blocking: tuple[str, ...]
) -> tuple[ExperimentOutcome, str]:
    """An experiment without a winner: hopeless, over, or to be continued."""
    total = sum(seen.mature)
    reached = total >= rules.horizon
    if seen.power is not None and seen.power < rules.futility_power and not reached:
        return (
            ExperimentOutcome.FUTILE,
            f"the chance to show by {rules.horizon:,} clients that treatment {rules.claim} is {seen.power:.1%}, "
            f"limit {rules.futility_power:.0%}",
        )
    state = f"e-value {_e(seen.better)} for better, {_e(seen.worse)} for worse, limit {_e(seen.limit)}"
    if rules.non_inferiority_margin is not None:
        state = f"e-value {_e(seen.claim)} for no worse, {state}"
    if blocking:
        state += f"; treatment {rules.claim}, but is kept from promotion by: " + ", ".join(blocking)
    if reached:
        return ExperimentOutcome.HORIZON, f"the horizon of {rules.horizon:,} clients is reached; {state}"
    if rules.max_days is not None and seen.days >= rules.max_days:
        return ExperimentOutcome.HORIZON, f"{seen.days:.0f} days are over; {state}"
    return ExperimentOutcome.KEEP_RUNNING, f"{total:,} of {rules.horizon:,} clients; {state}"


def log_e_of_claim(fraction: Sequence[float], n: np.ndarray, x: np.ndarray, rules: ExperimentRules) -> np.ndarray:
    """log e, shape (...), for what treatment has to show; n, x: clients and conversions, (..., phases, 2)."""
    if rules.non_inferiority_margin is not None:
        return e_process.log_e_not_worse(fraction, x[..., 0], x[..., 1], margin=rules.non_inferiority_margin)
    return _log_e(list(fraction), n, x, rules, 1)


def _log_e(
    fraction: list[float], n: np.ndarray, x: np.ndarray, rules: ExperimentRules, side: int
) -> NDArray[np.float64]:
    return e_process.log_e(
        fraction,
        n[..., 0],
        n[..., 1],
        x[..., 0],
        x[..., 1],
        rate=rules.baseline_rate,
        side=side,
        sd=rules.sd,
        grid=rules.grid,
    )


def _guardrail(guardrail: Guardrail, phases: tuple[Phase, ...], rules: ExperimentRules) -> GuardrailResult:
    pairs = [(_sums(phase.treatment, guardrail.name), _sums(phase.control, guardrail.name)) for phase in phases]
    estimate = confidence.stratified(pairs)
    if estimate is None:
        return GuardrailResult(guardrail.name)
    low, high = confidence.interval(estimate, rules.guardrail_alpha, rules.tuning)
    width = confidence.one_sided_width(estimate.standard_error, estimate.effective, rules.alpha, rules.tuning)
    sign = 1 if guardrail.higher_is_better else -1
    bound = estimate.difference - sign * width
    return GuardrailResult(
        guardrail.name,
        estimate.difference,
        low,
        high,
        bound,
        worse=high < 0 if guardrail.higher_is_better else low > 0,
        inside_margin=sign * bound > -guardrail.margin,
    )


def _grave(guardrail: Guardrail, result: GuardrailResult, rules: ExperimentRules) -> bool:
    """A loss that cannot wait for `min_days`: half of the smaller ones seen early are gone at the end."""
    return abs(result.difference or 0.0) > rules.early_harm_margins * guardrail.margin


def _sums(arm: Arm, name: str) -> Moments:
    return arm.guardrails[name] if arm.mature else arm.guardrails.get(name, Moments())


def _blocking(seen: _Evidence, rules: ExperimentRules) -> tuple[str, ...]:
    """What keeps a treatment that showed its claim from promotion."""
    waits = []
    if seen.days < rules.min_days:
        waits.append(f"{seen.days:.1f} of {rules.min_days:g} days")
    if sum(seen.mature) < rules.min_sample_size:
        waits.append(f"{sum(seen.mature):,} of {rules.min_sample_size:,} clients")
    if min(seen.conversions) < rules.min_conversions:
        waits.append(f"{min(seen.conversions)} of {rules.min_conversions} conversions per arm")
    for guardrail, result in zip(rules.guardrails, seen.guardrails, strict=True):
        if result.bound is None:
            waits.append(f"{result.name} has fewer than {confidence.MIN_CLIENTS} clients per arm")
        elif not result.inside_margin:
            waits.append(f"{result.name} may be worse by {abs(result.bound):.3g}, margin {guardrail.margin:g}")
    if rules.gini_margin is not None:
        gini = seen.gini
        if gini is None:
            waits.append("no interim analysis of the Gini of offers yet")
        elif gini.excess > rules.gini_margin:
            waits.append(f"Gini of offers {gini.excess:+.3f}, margin {rules.gini_margin:g}")
    return tuple(waits)


def _lift(n: np.ndarray, x: np.ndarray) -> float | None:
    """Stratified difference of rates relative to control's rate under the same weights; None without conversions."""
    both = n.min(axis=1) > 0
    if not both.any():
        return None
    weight = n[both].prod(axis=1) / n[both].sum(axis=1)
    treatment, control = weight @ (x[both] / n[both])
    return float(treatment / control - 1) if control else None


def _information(n: np.ndarray, fraction: float, horizon: int) -> tuple[float, float]:
    """(Share of the final information that is there, clients to come). Information is Σ nT·nC/(nT+nC) over phases; the
    clients to come are split as in the current phase."""
    remaining = max(0.0, horizon - n.sum())
    now = float((n.prod(axis=1) / np.maximum(n.sum(axis=1), 1)).sum())
    later = remaining * fraction * (1 - fraction)
    return (now / (now + later) if now + later else 0.0), remaining


@cache
def _quantiles() -> np.ndarray:
    normal = NormalDist()
    return np.array([normal.inv_cdf((i + 0.5) / _DRAWS) for i in range(_DRAWS)])


def _predictive_power(
    fraction: list[float], n: np.ndarray, x: np.ndarray, remaining: float, limit: float, rules: ExperimentRules
) -> float:
    """Chance that the claim's log e reaches its limit by the horizon, given what was seen and a flat prior on the rest.

    The clients to come are one more phase at the current share f, with a pooled rate q and rates that differ by δ. Seen
    are the pooled rate p and a difference D. The effect is relative, as in the test: δ ~ N(D·q/p, (q/p)²·p(1−p)/W +
    q(1−q)/w), W = Σ nT·nC/(nT+nC) of what was seen, w = remaining · f(1−f). q is the larger of p and the rate expected,
    so that a slow start is not held against the treatment. The e-value at the horizon is exact for each quantile of δ;
    those who reach the limit before and fall back are added as a share of those who do not.
    """
    f = fraction[-1]
    weight = n.prod(axis=1) / np.maximum(n.sum(axis=1), 1)
    rates = np.divide(x, n, out=np.zeros_like(x), where=n > 0)
    seen = float(weight @ (rates[:, 0] - rates[:, 1]) / weight.sum())
    p = min(max(float(x.sum() / n.sum()), 1e-9), 1 - 1e-9)
    q = max(p, rules.baseline_rate)
    deviation = sqrt((q / p) ** 2 * p * (1 - p) / weight.sum() + q * (1 - q) / (remaining * f * (1 - f)))
    future = seen * q / p + deviation * _quantiles()
    to_come = remaining * np.array([f, 1 - f])
    converted = to_come * np.clip(q + future[:, None] * np.array([1 - f, -f]), 0, 1)  # (draws, 2)
    counts = np.concatenate([np.broadcast_to(n, (_DRAWS, *n.shape)), np.broadcast_to(to_come, (_DRAWS, 1, 2))], axis=1)
    conversions = np.concatenate([np.broadcast_to(x, (_DRAWS, *x.shape)), converted[:, None]], axis=1)
    return min(1.0, _REACHED * float((log_e_of_claim([*fraction, f], counts, conversions, rules) >= limit).mean()))


def _e(log_value: float) -> str:
    """An e-value for people; the logarithm is what is stored."""
    return "over 1e9" if log_value > 20.7 else f"{exp(log_value):.3g}"
