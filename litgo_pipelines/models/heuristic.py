"""Heuristic ranker: serves before any model exists and whenever none can be loaded.

Pure. The feature keys here are the ones logged with every match (`case_matches.features`), in model input order.
Presets and complexity change the heuristic weights only: whoever ranks by a learned model does not ask here.
"""

from functools import cache

import numpy as np

from litgo_pipelines.arrays import Floats
from litgo_pipelines.models.features import FEATURES

HEURISTIC_WEIGHTS = {"A": 0.30, "S": 0.25, "T": 0.15, "G": 0.10, "Q": 0.10, "U": 0.05, "R": 0.05, "C": 0.03}

# What a client may ask for. `weights` brings each to sum 1.
PRESETS: dict[str, dict[str, float]] = {
    "balanced": HEURISTIC_WEIGHTS,
    "fast": {"A": 0.30, "S": 0.10, "T": 0.08, "G": 0.22, "Q": 0.05, "U": 0.18, "R": 0.05, "C": 0.02},
    "expert": {"A": 0.20, "S": 0.30, "T": 0.22, "G": 0.03, "Q": 0.18, "U": 0.02, "R": 0.03, "C": 0.02},
    "economic": {"A": 0.25, "S": 0.14, "T": 0.11, "G": 0.25, "Q": 0.02, "U": 0.15, "R": 0.05, "C": 0.03},
}
# What a case's complexity adds to them: a hard case asks for skill, an easy one for somebody near and quick.
COMPLEXITY: dict[str, dict[str, float]] = {
    "LOW": {"U": 0.05, "G": 0.03, "Q": -0.05, "T": -0.03},
    "MEDIUM": {},
    "HIGH": {"Q": 0.05, "T": 0.05, "C": 0.02, "U": -0.05},
}
BLOCK = 8192  # rows scored at a time, so that what is computed in between stays in the processor's cache


@cache
def weights(preset: str, complexity: str) -> Floats:
    """Weights in the order of FEATURES, not below 0, of sum 1; shape (8,), not writable.

    Raises ValueError naming a preset or complexity there is none of.
    """
    for name, value, known in (("preset", preset, PRESETS), ("complexity", complexity, COMPLEXITY)):
        if value not in known:
            raise ValueError(f"{name} {value!r} is unknown: there are {', '.join(known)}")
    adapted = np.array([PRESETS[preset][key] + COMPLEXITY[complexity].get(key, 0.0) for key in FEATURES]).clip(min=0)
    adapted /= adapted.sum()
    adapted.flags.writeable = False  # one array for every caller
    return adapted


def score(features: Floats, weights: Floats | None = None) -> Floats:
    """Weighted mean of the features a row has; shape (rows, 8), values in [0, 1] or NaN → shape (rows,), in [0, 1].

    weights: HEURISTIC_WEIGHTS when None, else not below 0, of shape (8,), or (rows, 8) for weights of each row's own. A
    missing (NaN) feature leaves the weighting, so that a lawyer without evidence is not ranked as one with bad
    evidence; a row without any feature that counts scores 0. Raises ValueError on other shapes.
    """
    if features.ndim != 2 or features.shape[1] != len(FEATURES):
        raise ValueError(f"expected (rows, {len(FEATURES)}) features in the order {FEATURES}, got {features.shape}")
    given = _DEFAULT if weights is None else weights
    if given.shape not in ((len(FEATURES),), features.shape):
        raise ValueError(f"expected weights of shape ({len(FEATURES)},) or {features.shape}, got {given.shape}")
    result = np.zeros(len(features))
    for start in range(0, len(features), BLOCK):
        rows = slice(start, start + BLOCK)
        values, missing = features[rows], np.isnan(features[rows])
        counted = np.where(missing, 0.0, given if given.ndim == 1 else given[rows])
        total = counted.sum(axis=1)
        weighted = (counted * np.where(missing, 0.0, values)).sum(axis=1)
        np.divide(weighted, total, out=result[rows], where=total > 0)
    return result


_DEFAULT = np.array(list(HEURISTIC_WEIGHTS.values()))
