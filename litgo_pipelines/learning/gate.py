"""Promotion gate: one decision, with reasons, on whether a candidate may replace the serving model.

Pure: numpy only. Candidate and baseline are scored on the same frozen held-out cases, just before; a query is a case.

Not here: the off-policy veto needs more logged propensities than a marketplace has, and is not approximated by
something else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from litgo_pipelines.models.metrics import Interval, paired_difference

BETTER, FRESHER = "better", "fresher"
_NOISE = 1e-9  # of floating point: what is exactly at a limit is inside


class GateOutcome(StrEnum):
    PASSED = "passed"
    REJECTED = "rejected"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


@dataclass(frozen=True)
class GateRules:
    """What a candidate must show. A lift is relative: .05 asks for 1.05 times the baseline's NDCG."""

    min_lift: float = 0.05
    min_queries: int = 120
    slice_min_queries: int = 50
    max_gini_increase: float = 0.02
    confidence: float = 0.95
    equal_margin: float = 0.01  # relative: as good, if the difference's lower bound is no further below 0
    fresher_days: float = 30  # of data that the champion has not seen, or …
    stale_days: float = 60  # … the age of the champion's data


@dataclass(frozen=True)
class Freshness:
    """newer_days: from the champion's snapshot to the candidate's; champion_days: from the champion's until now."""

    newer_days: float
    champion_days: float

    def is_enough(self, rules: GateRules) -> bool:
        return self.newer_days > 0 and (self.newer_days >= rules.fresher_days or self.champion_days > rules.stale_days)

    def sentence(self) -> str:
        return (
            f"as good and fresher: {self.newer_days:.0f} days of data more than the champion, whose data are "
            f"{self.champion_days:.0f} days old"
        )


@dataclass(frozen=True)
class Evenness:
    """Gini of offers on one replay of the last weeks through the allocation, of candidate and baseline."""

    candidate: float
    baseline: float


StoredInterval = dict[str, float]  # mean, low, high


class StoredSlice(TypedDict):
    name: str
    queries: int
    candidate: float
    baseline: float
    difference: StoredInterval | None
    veto: bool


class StoredRival(TypedDict):
    name: str
    mean: float
    difference: StoredInterval


class StoredDecision(TypedDict):
    """A decision as the ledger keeps it."""

    outcome: str
    reasons: list[str]
    queries: int
    skipped: int
    k: int
    way: str
    freshness: dict[str, float] | None
    candidate_ndcg: float | None
    baseline_ndcg: float | None
    lift: float | None
    difference: StoredInterval | None
    rivals: list[StoredRival]
    slices: list[StoredSlice]


@dataclass(frozen=True)
class SliceResult:
    name: str
    queries: int
    candidate: float
    baseline: float
    difference: Interval | None  # None: too few queries to say anything
    veto: bool

    def as_dict(self) -> StoredSlice:
        return {
            "name": self.name,
            "queries": self.queries,
            "candidate": self.candidate,
            "baseline": self.baseline,
            "difference": None if self.difference is None else _interval(self.difference),
            "veto": self.veto,
        }


@dataclass(frozen=True)
class RivalResult:
    """A rule without learning on the same cases. difference: candidate − rule."""

    name: str
    mean: float
    difference: Interval

    def as_dict(self) -> StoredRival:
        return {"name": self.name, "mean": self.mean, "difference": _interval(self.difference)}


@dataclass(frozen=True)
class GateDecision:
    outcome: GateOutcome
    reasons: list[str]
    queries: int = 0
    skipped: int = 0  # held-out cases with one lawyer or one label: no NDCG
    candidate: float | None = None
    baseline: float | None = None
    difference: Interval | None = None
    slices: tuple[SliceResult, ...] = ()
    k: int = 10  # ranks that the NDCG looks at
    rivals: tuple[RivalResult, ...] = ()
    way: str = BETTER  # by which it passed; its experiment asks for the same
    freshness: Freshness | None = None

    @property
    def lift(self) -> float | None:
        """Relative gain of the point estimate; None without a baseline to be relative to."""
        return self.candidate / self.baseline - 1 if self.candidate is not None and self.baseline else None

    def as_dict(self) -> StoredDecision:
        """Plain JSON values, as the ledger keeps them."""
        return {
            "outcome": str(self.outcome),
            "reasons": self.reasons,
            "queries": self.queries,
            "skipped": self.skipped,
            "k": self.k,
            "way": self.way,
            "freshness": None if self.freshness is None else vars(self.freshness).copy(),
            "candidate_ndcg": self.candidate,
            "baseline_ndcg": self.baseline,
            "lift": self.lift,
            "difference": None if self.difference is None else _interval(self.difference),
            "rivals": [rival.as_dict() for rival in self.rivals],
            "slices": [result.as_dict() for result in self.slices],
        }


def judge_candidate(
    candidate: ArrayLike,
    baseline: ArrayLike | None,
    rules: GateRules = GateRules(),
    *,
    slices: Mapping[str, NDArray[np.bool_]] | None = None,
    reload_problems: tuple[str, ...] = (),
    evenness: Evenness | None = None,
    k: int = 10,
    rivals: Mapping[str, ArrayLike] | None = None,
    freshness: Freshness | None = None,
) -> GateDecision:
    """Compare NDCG@k per query, both (queries,) with NaN for a query that tells no rankers apart.

    Passes when there are at least `min_queries` scored queries, the candidate's mean is at least (1 + min_lift) times
    the baseline's, the lower bound of the paired bootstrap difference is above 0, no slice vetoes, offers are spread as
    evenly (Gini at most `max_gini_increase` higher; None: too few cases for a replay, not judged), and the model came
    back from the registry as it went in (`reload_problems` is empty). No baseline result: rejected, never passed.

    `freshness`: of a candidate held against a champion. The second way: as good (lower bound of the difference at most
    `equal_margin` of the baseline's mean below 0) and made of at least `fresher_days` more data, or in the
    place of a champion older than `stale_days`. Everything else is asked of it too.

    `rivals`: name → NDCG of the same queries by a rule without learning (one line, the heuristic ranker). A candidate
    that does not beat the best of them by the interval is rejected: it is not worth its trouble.

    A slice (`slices`: name → (queries,) mask) vetoes when it has at least `slice_min_queries` scored queries and the
    candidate is significantly worse in it: the upper bound of its difference is below 0. The level is divided by the
    number of slices examined (Bonferroni), so that many slices do not veto by chance.
    """
    if reload_problems or baseline is None:
        why = list(reload_problems) or ["no baseline result: nothing to be better than"]
        return GateDecision(GateOutcome.REJECTED, why)
    values, reference = _same_queries(candidate, baseline)
    scored = np.isfinite(values)
    queries, skipped = int(scored.sum()), int((~scored).sum())
    if not queries:
        nothing = ["no held-out case holds two lawyers with different labels"]
        return GateDecision(GateOutcome.NOT_ENOUGH_EVIDENCE, nothing, 0, skipped)
    mean, reference_mean = (float(each[scored].mean()) for each in (values, reference))
    difference = paired_difference(values, reference, confidence=rules.confidence)
    results = _slices(values, reference, slices or {}, rules)
    held_against = _rivals(values, rivals or {}, rules)
    shown = f"NDCG@{k} {mean:.4f}"
    reasons = _not_better(shown, mean, reference_mean, difference, rules)
    way = BETTER
    if reasons and freshness and freshness.is_enough(rules) and _as_good(difference, reference_mean, rules):
        way, reasons = FRESHER, []
    reasons += _vetoes(mean, held_against, results, evenness, rules)
    outcome = GateOutcome.REJECTED if reasons else GateOutcome.PASSED
    if queries < rules.min_queries:
        outcome = GateOutcome.NOT_ENOUGH_EVIDENCE
        reasons.insert(0, f"{queries} scored held-out cases, at least {rules.min_queries} are needed")
    if not reasons:
        spread = f"difference {difference.low:+.4f} to {difference.high:+.4f}"
        reasons = [f"{shown} against {reference_mean:.4f} on {queries} cases, {spread}"]
        reasons += [freshness.sentence()] if way == FRESHER and freshness else []
    return GateDecision(
        outcome, reasons, queries, skipped, mean, reference_mean, difference, results, k, held_against, way, freshness
    )


def _not_better(shown: str, mean: float, reference: float, difference: Interval, rules: GateRules) -> list[str]:
    """What is missing for "better": the lift, and that it is no chance."""
    reasons = []
    if mean < (1 + rules.min_lift) * reference - _NOISE:
        reasons.append(f"{shown} is below {1 + rules.min_lift:g} × {reference:.4f}")
    if not difference.low > 0:
        reasons.append(f"the gain may be chance: lower bound of the difference {difference.low:+.4f}")
    return reasons


def _as_good(difference: Interval, reference: float, rules: GateRules) -> bool:
    return difference.low >= -rules.equal_margin * reference - _NOISE


def _same_queries(candidate: ArrayLike, baseline: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as arrays; ValueError when they are not results of the same queries."""
    values, reference = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if values.shape != reference.shape:
        raise ValueError(f"not the same queries: {values.shape} against {reference.shape}")
    if (np.isfinite(values) != np.isfinite(reference)).any():
        raise ValueError("candidate and what it is held against are scored on different queries")
    return values, reference


def _vetoes(
    mean: float,
    rivals: tuple[RivalResult, ...],
    slices: tuple[SliceResult, ...],
    evenness: Evenness | None,
    rules: GateRules,
) -> list[str]:
    """What speaks against a candidate besides the mean and its interval."""
    reasons = []
    if rivals and not rivals[0].difference.low > 0:
        best = rivals[0]
        reasons.append(
            f"no better than the rule «{best.name}»: {mean:.4f} against {best.mean:.4f}, lower bound of the difference "
            f"{best.difference.low:+.4f}"
        )
    reasons += [
        f"worse in slice {r.name}: {r.candidate:.4f} against {r.baseline:.4f} on {r.queries} cases"
        for r in slices
        if r.veto
    ]
    if evenness and not evenness.candidate <= evenness.baseline + rules.max_gini_increase + _NOISE:
        reasons.append(f"offers less even on a replay: Gini {evenness.candidate:.3f} against {evenness.baseline:.3f}")
    return reasons


def _rivals(values: NDArray[np.float64], rivals: Mapping[str, ArrayLike], rules: GateRules) -> tuple[RivalResult, ...]:
    """The rules, the best first; ValueError when one was scored on other queries."""
    found = []
    for name, given in rivals.items():
        _, other = _same_queries(values, given)
        difference = paired_difference(values, other, confidence=rules.confidence)
        found.append(RivalResult(name, float(np.nanmean(other)), difference))
    return tuple(sorted(found, key=lambda rival: -rival.mean))


def population_stability(expected: ArrayLike, actual: ArrayLike, bins: int = 10) -> float:
    """PSI of one feature between two samples: 0 the same, above .25 usually read as a shift; NaN when one is empty.

    Bins are the quantiles of `expected`, with one more for missing values; shares get half a count so that an empty
    bin stays finite. A report, not a veto: a shifted feature is a reason to look, not to stop.
    """
    first, second = np.asarray(expected, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    if not len(first) or not len(second):
        return float("nan")
    known = first[np.isfinite(first)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1])) if len(known) else np.empty(0)

    def shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
        finite = np.isfinite(values)
        cells = np.where(finite, np.searchsorted(edges, np.where(finite, values, 0.0), side="right"), len(edges) + 1)
        counts = np.bincount(cells, minlength=len(edges) + 2) + 0.5
        return counts / counts.sum()

    p, q = shares(first), shares(second)
    return float(((q - p) * np.log(q / p)).sum())


def _slices(
    values: NDArray[np.float64],
    reference: NDArray[np.float64],
    slices: Mapping[str, NDArray[np.bool_]],
    rules: GateRules,
) -> tuple[SliceResult, ...]:
    scored = np.isfinite(values)
    masks = {name: mask & scored for name, mask in slices.items() if (mask & scored).any()}
    examined = sum(int(mask.sum()) >= rules.slice_min_queries for mask in masks.values())
    results = []
    for name, mask in masks.items():
        queries = int(mask.sum())
        difference = None
        if queries >= rules.slice_min_queries:
            level = 1 - (1 - rules.confidence) / examined
            difference = paired_difference(values[mask], reference[mask], confidence=level, resamples=4000)
        results.append(
            SliceResult(
                name,
                queries,
                float(values[mask].mean()),
                float(reference[mask].mean()),
                difference,
                difference is not None and difference.high < 0,
            )
        )
    return tuple(results)


def _interval(interval: Interval) -> StoredInterval:
    return vars(interval).copy()
