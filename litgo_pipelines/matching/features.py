"""The eight ranking features, each in [0, 1], NaN without evidence. Pure; the only place that computes them.

What a lawyer did lately is `momentum.py`; what each feature means, `models/features.py`.

Matching, the simulator and replays call these functions; training reads what was logged. Values are rounded to
DECIMALS before anything uses them, so that a logged feature is exactly what the ranker saw.
"""

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Floats
from litgo_pipelines.models.features import FEATURES

DECIMALS = 3
FULL_TRUST_REVIEWS = 5
COUNTRY_KM = 4500.0  # radius of a case served from anywhere: no two places of Brazil are farther apart
NEUTRAL = 0.5  # R before it is trusted, C without data


def bounded(values: Floats) -> Floats:
    """Clipped to [0, 1] and rounded; NaN stays NaN."""
    return np.asarray(np.round(np.clip(values, 0.0, 1.0), DECIMALS), dtype=np.float64)


def success(won: Floats, concluded: Floats) -> Floats:
    """T: (won + 1) / (concluded + 2), the posterior mean under Beta(1, 1); NaN without a concluded case."""
    return bounded(np.where(concluded > 0, (won + 1) / (concluded + 2), np.nan))


def closeness(km: Floats, radius_km: Floats | float) -> Floats:
    """G: 1 − distance / radius; NaN where the distance is unknown (a case or a lawyer without a place)."""
    return bounded(1 - km / radius_km)


def qualification(years: Floats, degree: Floats, publications: Floats) -> Floats:
    """Q: half for twenty years of practice, .1 per degree level in the area (specialist 1, master 2, doctor 3), a fifth
    for five publications; NaN without a curriculum (years NaN)."""
    return bounded(0.5 * np.minimum(years / 20, 1) + 0.1 * degree + 0.2 * np.minimum(publications / 5, 1))


def urgency_capacity(response_h: Floats, urgency_h: Floats) -> Floats:
    """U: 1 − usual response time / urgency, both in hours; NaN when either is unknown."""
    return bounded(1 - response_h / np.maximum(urgency_h, 0.01))  # overdue: nobody is in time


def review_score(stars: Floats, reviews: Floats) -> Floats:
    """R: mean stars (1–5) on [0, 1], drawn to .5 until there are five reviews; NaN without a review."""
    trust = np.minimum(reviews / FULL_TRUST_REVIEWS, 1)
    return bounded(np.where(reviews > 0, trust * (stars - 1) / 4 + (1 - trust) * NEUTRAL, np.nan))


def soft_skills(softskill: Floats) -> Floats:
    """C: as measured from review sentiment; .5 without data."""
    return bounded(np.where(np.isnan(softskill), NEUTRAL, softskill))


def impute(features: Floats, starts: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
    """Missing values of the eight become the mean of the case's pool: (features, where a value was imputed).

    features: (pairs, 8 or more), the pairs of a case side by side; starts: first row of each case, ascending, no case
    empty. A feature nobody in the pool has stays NaN: rankers leave it out. It is flagged all the same. Columns beyond
    the eight stay as they are: there, missing says something.
    """
    eight = features[:, : len(FEATURES)]
    missing = np.zeros(features.shape, dtype=bool)
    np.isnan(eight, out=missing[:, : len(FEATURES)])
    if not missing.any():
        return features, missing
    gaps = missing[:, : len(FEATURES)]
    sums = np.add.reduceat(np.where(gaps, 0.0, eight), starts)
    known = np.add.reduceat((~gaps).astype(np.float64), starts)
    mean = np.round(np.divide(sums, known, out=np.full(sums.shape, np.nan), where=known > 0), DECIMALS)
    row, column = np.nonzero(gaps)
    filled = features.copy()
    filled[row, column] = mean[np.searchsorted(starts, row, side="right") - 1, column]
    return filled, missing
