"""The hand-weighted ranker: serves before any model exists and whenever none can be loaded.

Pure. The feature keys here are the ones logged with every match (`case_matches.features`), in model input order.
"""

import numpy as np
from numpy.typing import NDArray

HAND_WEIGHTS = {"A": 0.30, "S": 0.25, "T": 0.15, "G": 0.10, "Q": 0.10, "U": 0.05, "R": 0.05, "C": 0.03}
FEATURES = tuple(HAND_WEIGHTS)


def score(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted mean of the features a row has; shape (rows, 8), values in [0, 1] or NaN → shape (rows,), in [0, 1].

    A missing (NaN) feature leaves the weighting, so that a lawyer without evidence is not ranked as one with bad
    evidence; a row without any feature scores 0. Raises ValueError on another number of columns.
    """
    if features.ndim != 2 or features.shape[1] != len(FEATURES):
        raise ValueError(f"expected (rows, {len(FEATURES)}) features in the order {FEATURES}, got {features.shape}")
    weights = np.where(np.isnan(features), 0.0, np.array(list(HAND_WEIGHTS.values())))
    total = weights.sum(axis=1)
    return np.divide(
        (weights * np.nan_to_num(features)).sum(axis=1), total, out=np.zeros(len(features)), where=total > 0
    )
