"""Confidence sequences for a difference of client means or ratios, valid at all interim analyses. Pure, scalars only.

Asymptotic confidence sequences (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2021, arXiv:2103.06476). The client is
the unit: several requests of one client are summed into its numerator and denominator first. Heavy tails are capped
or logged before they come here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

import numpy as np
from numpy.typing import ArrayLike

MIN_CLIENTS = 100  # an arm: below it the normal approximation says nothing
TUNING = 5000.0  # clients at 50/50 for which the sequence is tightest


@dataclass(frozen=True)
class Moments:
    """Sums over the clients of one arm in one phase; y numerator, x denominator of a client (1 for a mean)."""

    clients: int = 0
    y: float = 0.0
    yy: float = 0.0
    x: float = 0.0
    xy: float = 0.0
    xx: float = 0.0


def moments(y: ArrayLike, x: ArrayLike | None = None, cap: float | None = None) -> Moments:
    """Moments of clients (clients,): y above `cap` counts as it, no x is 1 each. Raises ValueError for a value that is
    not finite (a client without a value is left out by the caller, or counted as the cap)."""
    numerator = np.asarray(y, dtype=np.float64)
    if cap is not None:
        numerator = np.minimum(numerator, cap)
    denominator = np.ones(len(numerator)) if x is None else np.asarray(x, dtype=np.float64)
    if numerator.shape != denominator.shape or not np.isfinite([numerator, denominator]).all():
        raise ValueError("numerators and denominators must be finite and of one length")
    return Moments(
        len(numerator),
        float(numerator.sum()),
        float(numerator @ numerator),
        float(denominator.sum()),
        float(numerator @ denominator),
        float(denominator @ denominator),
    )


@dataclass(frozen=True)
class Difference:
    """Treatment − control over all phases; `effective`: clients of a 50/50 split that would tell as much."""

    difference: float
    standard_error: float
    effective: float


def effective_clients(arm: Moments) -> float:
    """(Σx)² / Σx² (Kish): all clients for a mean, those who gave a rating for a mean rating; 0 without any."""
    return arm.x**2 / arm.xx if arm.xx > 0 else 0.0


def stratified(phases: Sequence[tuple[Moments, Moments]]) -> Difference | None:
    """Difference of ratios Σy/Σx, (treatment, control) a phase; None with fewer than 100 effective clients per arm.

    Phases are weighted by mT·mC/(mT+mC), m the effective clients, which makes a mean's difference
    Σ (arm − share treated)·y: a drift of the baseline between phases cancels. The variance of a ratio is that of
    (y − R·x) / mean x (delta method). A phase counts when both its arms have two effective clients.
    """
    sizes = [(effective_clients(treatment), effective_clients(control)) for treatment, control in phases]
    if min(sum(arms[arm] for arms in sizes) for arm in (0, 1)) < MIN_CLIENTS:
        return None
    total = difference = variance = 0.0
    for (treatment, control), (m_t, m_c) in zip(phases, sizes, strict=True):
        if min(m_t, m_c) < 2:
            continue
        weight = m_t * m_c / (m_t + m_c)
        total += weight
        difference += weight * (treatment.y / treatment.x - control.y / control.x)
        variance += weight**2 * (_variance(treatment) + _variance(control))
    return Difference(difference / total, sqrt(variance) / total, 4 * total) if total else None


def _variance(arm: Moments) -> float:
    """Variance of an arm's ratio; the residuals y − R·x have mean 0 by construction."""
    ratio = arm.y / arm.x
    residual = arm.yy - 2 * ratio * arm.xy + ratio**2 * arm.xx
    return max(residual, 0.0) / (arm.clients - 1) * arm.clients / arm.x**2


def rho_squared(alpha: float, tuning: float = TUNING) -> float:
    """ρ² that makes the two-sided sequence tightest at about `tuning` clients (eq. 161 of the paper)."""
    return (-2 * log(alpha) + log(1 - 2 * log(alpha))) / tuning


def half_width(standard_error: float, clients: float, alpha: float, tuning: float = TUNING) -> float:
    """Half of the two-sided (1 − alpha) confidence sequence (eq. 9): with s = clients · ρ²,
    standard error · sqrt(2 · (s+1)/s · log(sqrt(s+1)/alpha))."""
    s = clients * rho_squared(alpha, tuning)
    return standard_error * sqrt(2 * (s + 1) / s * log(sqrt(s + 1) / alpha))


def one_sided_width(standard_error: float, clients: float, alpha: float, tuning: float = TUNING) -> float:
    """From the estimate to its one-sided (1 − alpha) bound (eq. 134): log(1 + sqrt(s+1)/(2·alpha)) in place of the
    two-sided logarithm, and ρ² of 2·alpha."""
    s = clients * rho_squared(min(2 * alpha, 0.5), tuning)
    return standard_error * sqrt(2 * (s + 1) / s * log(1 + sqrt(s + 1) / (2 * alpha)))


def interval(estimate: Difference, alpha: float, tuning: float = TUNING) -> tuple[float, float]:
    """Two-sided bounds of the difference."""
    width = half_width(estimate.standard_error, estimate.effective, alpha, tuning)
    return estimate.difference - width, estimate.difference + width
