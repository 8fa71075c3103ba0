"""Exact e-process for "treatment converts better (or worse) than control", valid at every stopping time. Pure.

If the arm has no effect, then given a client's outcome the arm is Bernoulli(f), whatever the baseline rate does. The
product of likelihood ratios of arms given outcomes therefore has mean 1 at every stopping time, and by Ville's
inequality reaches 1/alpha with probability alpha at most. Nothing is estimated from the data. Only clients whose
outcome is final may be counted.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from litgo_pipelines.arrays import Floats

SD = 0.10  # of the relative effect looked for
RARE, RARE_SD = 0.10, 0.20  # below this rate: what can be seen at all is a larger effect
GRID = 40  # effects mixed over, up to FARTHEST spreads
FARTHEST = 4
ROOM = 0.95  # of the effects that exist, the share looked for where most convert


def sd_for(rate: float, fraction: float) -> float:
    """Spread of the effects looked for at an expected rate, with at most the share `fraction` treated.

    Validity does not depend on it, power does: at 2 % converting and a true +20 %, by 20,000 clients .29 with .20 and
    .10 with .10. Where most convert there is no room for large effects, and the spread is what leaves the largest of
    them inside `highest_rate`.
    """
    return min(RARE_SD if rate < RARE else SD, ROOM * (1 - rate) / (FARTHEST * fraction))


def highest_rate(fraction: float, sd: float) -> float:
    """Below this expected rate every effect looked for exists: treatment that converts worse by FARTHEST spreads beside
    a control whose rate is rate / (1 − FARTHEST · sd · fraction), which is below 1."""
    return 1 - FARTHEST * sd * fraction


def log_e(
    fraction: ArrayLike,
    clients_treatment: ArrayLike,
    clients_control: ArrayLike,
    conversions_treatment: ArrayLike,
    conversions_control: ArrayLike,
    *,
    rate: float,
    side: int,
    sd: float = SD,
    grid: int = GRID,
) -> Floats:
    """Natural logarithm of the e-value, shape (...), for "treatment converts better" (side 1) or "worse" (side −1).

    fraction: (phases,) share treated in each phase, inside (0, 1). The counts: (..., phases), cumulative. rate: the
    conversion rate expected, inside (0, 1), fixed before the experiment; a wrong one costs power, never validity.

    log e = log Σ_k w_k Π_phases (t1/f)^xT ((1−t1)/(1−f))^xC (t0/f)^(nT−xT) ((1−t0)/(1−f))^(nC−xC), with the share of
    treated among converted t1 = f·pT/rate, among the others t0 = f·(1−pT)/(1−rate), pT = rate·(1+d)/(f·(1+d)+1−f),
    d_k = side·4·sd·k/grid, w_k ∝ exp(−(d_k/sd)²/2). pT is cut at the middle between `rate` and 1.
    Raises ValueError for values outside these ranges and for more conversions than clients.
    """
    f = np.atleast_1d(np.asarray(fraction, dtype=np.float64))
    n_t, n_c, x_t, x_c = (
        np.asarray(values, dtype=np.float64)
        for values in (clients_treatment, clients_control, conversions_treatment, conversions_control)
    )
    if (x_t < 0).any() or (x_c < 0).any() or (x_t > n_t).any() or (x_c > n_c).any():
        raise ValueError("conversions must lie between 0 and the number of clients")
    weights, factors = _factors(tuple(f.tolist()), rate, side, sd, grid)
    counts = np.concatenate([x_t, x_c, n_t - x_t, n_c - x_c], axis=-1)
    terms = weights + counts @ factors  # (..., grid)
    highest = terms.max(axis=-1, keepdims=True)
    return highest[..., 0] + np.log(np.exp(terms - highest).sum(axis=-1))


def log_e_not_worse(
    fraction: ArrayLike,
    conversions_treatment: ArrayLike,
    conversions_control: ArrayLike,
    *,
    margin: float,
    grid: int = GRID,
) -> Floats:
    """Natural logarithm of the e-value, shape (...), for "treatment's rate is above (1 − margin) of control's".

    Shapes as in `log_e`. Of those who converted, t(r) = f·r/(f·r + 1 − f) were treated when treatment's rate is r times
    control's, whatever control's is and however it drifts. The mixture of likelihood ratios of
    r_k = 1 − margin + 4·margin·k/grid against 1 − margin, with weights ∝ exp(−((r_k − 1)/margin)²/2), has mean 1 at
    r = 1 − margin and less below. Those who did not convert are not used: that costs power where most convert.
    Raises ValueError for values outside their ranges.
    """
    f = np.atleast_1d(np.asarray(fraction, dtype=np.float64))
    x_t, x_c = (np.asarray(x, dtype=np.float64) for x in (conversions_treatment, conversions_control))
    if not ((f > 0).all() and (f < 1).all() and 0 < margin < 1) or (x_t < 0).any() or (x_c < 0).any() or grid < 1:
        raise ValueError("fractions and the margin must lie inside (0, 1), and conversions must not be negative")
    least = 1 - margin
    ratio = least + 4 * margin * np.arange(1, grid + 1) / grid
    weights = -(((ratio - 1) / margin) ** 2) / 2
    weights -= np.log(np.exp(weights).sum())

    def treated(r: Floats) -> Floats:
        share = f[:, None] * r
        return np.asarray(share / (share + 1 - f[:, None]))  # (phases, grid)

    there, null = treated(ratio), treated(np.array([least]))
    terms = weights + x_t @ np.log(there / null) + x_c @ np.log((1 - there) / (1 - null))
    highest = terms.max(axis=-1, keepdims=True)
    return np.asarray(highest[..., 0] + np.log(np.exp(terms - highest).sum(axis=-1)))


@lru_cache(maxsize=256)
def _factors(fractions: tuple[float, ...], rate: float, side: int, sd: float, grid: int) -> tuple[Floats, Floats]:
    """Log weights (grid,), and what one client adds to the log of each product: (4 · phases, grid)."""
    f = np.array(fractions)[:, None]
    if not (f.size and (f > 0).all() and (f < 1).all() and 0 < rate < 1):
        raise ValueError("fractions and rate must lie inside (0, 1)")
    if side not in (1, -1) or not 0 < sd < 0.25 or grid < 1:
        raise ValueError("side is 1 or −1, sd lies inside (0, 0.25), grid is at least 1")
    d = side * FARTHEST * sd * np.arange(1, grid + 1) / grid
    weights = -((d / sd) ** 2) / 2
    weights -= np.log(np.exp(weights).sum())
    p = np.minimum(rate * (1 + d) / (f * (1 + d) + 1 - f), (1 + rate) / 2)
    t1, t0 = f * p / rate, f * (1 - p) / (1 - rate)
    if (t1 >= 1).any() or (t0 >= 1).any():
        raise ValueError(f"no such effect at rate {rate:g} and fractions {fractions}")
    factors = np.log(np.concatenate([t1 / f, (1 - t1) / (1 - f), t0 / f, (1 - t0) / (1 - f)]))
    factors.flags.writeable = weights.flags.writeable = False  # shared by all callers through the cache
    return weights, factors
