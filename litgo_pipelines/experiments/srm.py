"""Sample-ratio mismatch: a Dirichlet-multinomial e-process for arms whose sizes do not fit the split. Pure.

A mismatch means that exposures are lost or doubled in one arm, and that no other figure of the experiment can be
trusted. Counted over every exposed client, whether the outcome is known or not.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONCENTRATION = 1000.0


def log_e(
    fraction: ArrayLike, treatment: ArrayLike, control: ArrayLike, concentration: float = CONCENTRATION
) -> NDArray[np.float64]:
    """Natural logarithm of the e-value against the split, shape (...).

    fraction: (phases,) inside (0, 1). treatment, control: (..., phases) exposed clients. Phases multiply. One phase:
    B(k·f + nT, k·(1−f) + nC) / B(k·f, k·(1−f)) / (f^nT · (1−f)^nC), B the beta function (Lindon & Malek 2020).
    Raises ValueError for negative counts and fractions outside (0, 1).
    """
    from scipy.special import betaln

    f = np.atleast_1d(np.asarray(fraction, dtype=np.float64))
    n_t, n_c = np.asarray(treatment, dtype=np.float64), np.asarray(control, dtype=np.float64)
    if not ((f > 0).all() and (f < 1).all()) or (n_t < 0).any() or (n_c < 0).any():
        raise ValueError("fractions must lie inside (0, 1) and counts must not be negative")
    a, b = concentration * f, concentration * (1 - f)
    terms = betaln(a + n_t, b + n_c) - betaln(a, b) - n_t * np.log(f) - n_c * np.log1p(-f)
    return np.asarray(terms.sum(axis=-1))
