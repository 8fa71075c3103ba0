"""Quality rules: whether the serving model still performs as it did, judged on counts read by the caller. Pure.

A check compares with the concurrent control where there is one, so that a drop in demand is not blamed on the model,
else with the reference rate the model had when it was accepted. What a rollback does is not here.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class QualityRules:
    """Limits. Outcomes are binary and final; each counts once, at the time it was seen.

    reference_rate: successes per outcome of the model when it was accepted. fraction: share of the traffic the model
    has when there is a control. floor is `QUALITY_THRESHOLD`. Raises ValueError for values out of range.
    """

    reference_rate: float
    fraction: float = 0.5
    cusum_ratio: float = 0.7  # the drop the CUSUM is tuned for
    cusum_limit: float = 13.0
    window_p: float = 1e-7
    window_min_outcomes: int = 20
    floor: float = 0.85
    floor_p: float = 1e-5
    max_error_rate: float = 0.05
    error_p: float = 1e-4
    min_requests: int = 20
    max_latency_seconds: float = 2.0  # 95th percentile
    max_null_share: float = 0.2
    checks_in_a_row: int = 3  # of too slow, or of too many null features

    def __post_init__(self) -> None:
        rates = (self.reference_rate, self.fraction, self.cusum_ratio, self.max_error_rate)
        levels = (self.window_p, self.floor_p, self.error_p)
        if not all(0 < share < 1 for share in rates + levels) or not 0 <= self.floor <= 1:
            raise ValueError("rates, ratio, fraction and levels must lie inside (0, 1)")


@dataclass(frozen=True)
class Counts:
    """Outcomes and successes of the model and, where there is one, of the concurrent control."""

    outcomes: int = 0
    successes: int = 0
    control_outcomes: int | None = None
    control_successes: int | None = None

    def __post_init__(self) -> None:
        if (self.control_outcomes is None) != (self.control_successes is None):
            raise ValueError("a control has both counts or none")
        if not 0 <= self.successes <= self.outcomes or not 0 <= (self.control_successes or 0) <= (
            self.control_outcomes or 0
        ):
            raise ValueError("successes ≤ outcomes does not hold")


@dataclass(frozen=True)
class Observation:
    """What one check sees. new: seen after the last check's instant and up to `at`; hour, day: in the 60 minutes and 24
    hours up to `at`. Requests are those of the hour; latency and null share are None without a request."""

    at: datetime
    new: Counts
    hour: Counts
    day: Counts
    requests: int = 0
    errors: int = 0
    latency_seconds: float | None = None
    null_share: float | None = None


@dataclass(frozen=True)
class MonitorState:
    """What one check leaves for the next; a model starts with the empty state when it begins to serve."""

    at: datetime | None = None
    cusum: float = 0.0
    slow_checks: int = 0
    null_checks: int = 0

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "at": self.at.isoformat() if self.at else None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MonitorState":
        return cls(**{**values, "at": datetime.fromisoformat(values["at"]) if values["at"] else None})


@dataclass(frozen=True)
class Alarm:
    """Why the model is to be rolled back; `kind` is cusum, window, floor, errors, latency or null_features."""

    kind: str
    reason: str


def advance(state: MonitorState, seen: Observation, rules: QualityRules) -> tuple[MonitorState, tuple[Alarm, ...]]:
    """The next state, and the alarms of this check; any alarm is reason enough to roll back.

    Raises ValueError for a check that is not after the last one: its outcomes would count twice.
    """
    if seen.at.tzinfo is None or (state.at is not None and seen.at <= state.at):
        raise ValueError("checks need a timezone and follow one another")
    slow = seen.latency_seconds is not None and seen.latency_seconds > rules.max_latency_seconds
    nulls = seen.null_share is not None and seen.null_share > rules.max_null_share
    after = MonitorState(
        seen.at,
        float(cusum(state.cusum, rules, *_columns(seen.new))),
        state.slow_checks + 1 if slow else 0,
        state.null_checks + 1 if nulls else 0,
    )
    return after, (*_outcome_alarms(after, seen, rules), *_service_alarms(after, seen, rules))


def _outcome_alarms(after: MonitorState, seen: Observation, rules: QualityRules) -> list[Alarm]:
    """Whether fewer offers succeed than should."""
    controlled = seen.new.control_outcomes is not None
    alarms = []
    against = "the control" if controlled else f"the reference {rules.reference_rate:.1%}"
    if after.cusum >= rules.cusum_limit:
        alarms.append(
            Alarm("cusum", f"success fell against {against}: CUSUM {after.cusum:.1f}, limit {rules.cusum_limit:g}")
        )
    hour = seen.hour
    if hour.outcomes >= rules.window_min_outcomes:
        p = float(window_p(rules.reference_rate, *_columns(hour)))
        if p < rules.window_p:
            alarms.append(
                Alarm(
                    "window",
                    f"{hour.successes} of {hour.outcomes} in an hour against {against}: p {p:.1e}, "
                    f"limit {rules.window_p:g}",
                )
            )
    if not controlled and rules.floor and seen.day.outcomes:
        p = float(window_p(rules.floor * rules.reference_rate, seen.day.outcomes, seen.day.successes))
        if p < rules.floor_p:
            alarms.append(
                Alarm(
                    "floor",
                    f"{seen.day.successes} of {seen.day.outcomes} in a day, surely below {rules.floor:g} of "
                    f"{against}: p {p:.1e}, limit {rules.floor_p:g}",
                )
            )
    return alarms


def _service_alarms(after: MonitorState, seen: Observation, rules: QualityRules) -> list[Alarm]:
    """Whether the model fails, is slow, or lacks its features."""
    alarms = []
    if seen.requests >= rules.min_requests:
        p = float(window_p(1 - rules.max_error_rate, seen.requests, seen.requests - seen.errors))
        if p < rules.error_p:
            alarms.append(
                Alarm("errors", f"{seen.errors} of {seen.requests} requests failed, limit {rules.max_error_rate:.0%}")
            )
    if after.slow_checks >= rules.checks_in_a_row:
        alarms.append(
            Alarm(
                "latency",
                f"95 % within {seen.latency_seconds:.2f} s, limit {rules.max_latency_seconds:g} s, "
                f"{after.slow_checks} checks in a row",
            )
        )
    if after.null_checks >= rules.checks_in_a_row:
        alarms.append(
            Alarm(
                "null_features",
                f"{seen.null_share:.0%} of the features are null, limit {rules.max_null_share:.0%}, "
                f"{after.null_checks} checks in a row",
            )
        )
    return alarms


def _columns(counts: Counts) -> tuple[int, ...]:
    if counts.control_outcomes is None or counts.control_successes is None:
        return counts.outcomes, counts.successes
    return counts.outcomes, counts.successes, counts.control_outcomes, counts.control_successes


def cusum(
    before: ArrayLike,
    rules: QualityRules,
    outcomes: ArrayLike,
    successes: ArrayLike,
    control_outcomes: ArrayLike | None = None,
    control_successes: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """max(0, before + log-likelihood ratio of "the rate is `cusum_ratio` of what it should be"); any shapes.

    Without a control against Bernoulli(reference). With one it is the ratio of `e_process.log_e` for the one effect
    d = cusum_ratio − 1 beside a control at the reference, in which a change of both arms cancels: such an effect exists
    at every rate and fraction; with the mean of both at the reference it does not. Page's CUSUM with resets at 0. A
    `before` that is no number counts as 0.
    """
    p, ratio = rules.reference_rate, rules.cusum_ratio
    n, x = np.asarray(outcomes, dtype=np.float64), np.asarray(successes, dtype=np.float64)
    if control_outcomes is None or control_successes is None:
        step = x * np.log(ratio) + (n - x) * np.log((1 - ratio * p) / (1 - p))
    else:
        m, y = np.asarray(control_outcomes, dtype=np.float64), np.asarray(control_successes, dtype=np.float64)
        f = rules.fraction
        t1 = f * ratio / (f * ratio + 1 - f)  # share treated among the successes, and below among the others
        t0 = f * (1 - ratio * p) / (f * (1 - ratio * p) + (1 - f) * (1 - p))
        step = (
            x * np.log(t1 / f)
            + y * np.log((1 - t1) / (1 - f))
            + (n - x) * np.log(t0 / f)
            + (m - y) * np.log((1 - t0) / (1 - f))
        )
    return np.maximum(0.0, np.fmax(0.0, np.asarray(before, dtype=np.float64)) + step)


def window_p(
    rate: float,
    outcomes: ArrayLike,
    successes: ArrayLike,
    control_outcomes: ArrayLike | None = None,
    control_successes: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Exact one-sided p-value of so few successes: binomial with `rate`, or Fisher's test against the control."""
    if control_outcomes is None or control_successes is None:
        from scipy.special import bdtr

        return bdtr(successes, outcomes, rate)
    from scipy.stats import hypergeom

    total, converted = np.add(outcomes, control_outcomes), np.add(successes, control_successes)
    return hypergeom.cdf(successes, total, converted, outcomes)
