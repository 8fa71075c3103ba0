"""Ranker: a learned model, or the heuristic while there is none or it cannot be loaded.

A ranker turns features into relevance in [0, 1], which the allocation weighs against load. Presets and complexity
belong to the heuristic ranker and never touch a learned model.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Floats
from litgo_pipelines.models import heuristic
from litgo_pipelines.models.features import FEATURES, select


class ModelBroken(RuntimeError):
    """The model does not score; no case's fault."""


@dataclass(frozen=True)
class Ranker:
    """`model`: a `scorer.Served`, None for the heuristic; `fallback`: why a champion does not rank (metric label).

    `names`: the features the version was made with (`registry.names_of`); it is given those and no others.
    """

    model: Any = None
    version: str | None = None
    names: tuple[str, ...] = FEATURES
    fallback: str | None = None
    problem: str = field(default="", compare=False)  # what a person should know about the fallback

    @property
    def kind(self) -> str:
        return "hand_weights" if self.model is None else "model"

    def relevance(
        self, features: Floats, presets: Sequence[str], complexity: Sequence[str], sizes: NDArray[np.int64]
    ) -> Floats:
        """Relevance of each pair, (pairs,), in [0, 1]; features (pairs, len(BASE)), case by case `sizes` rows each.

        LambdaRank's scores are log-odds of being preferred (RankNet, Burges et al. 2005), so the logistic function of a
        score is the probability to be preferred to a lawyer of score 0. Raises ModelBroken.
        """
        if self.model is None:
            weights = np.array([heuristic.weights(p, c) for p, c in zip(presets, complexity, strict=True)])
            return heuristic.score(features[:, : len(FEATURES)], np.repeat(weights, sizes, axis=0))
        import pandas as pd

        try:
            frame = pd.DataFrame(select(features, sizes, self.names), columns=list(self.names))
            score = np.asarray(self.model.predict(frame), dtype=float)
        except Exception as error:
            raise ModelBroken(f"model version {self.version} cannot score: {type(error).__name__}: {error}") from error
        if score.shape != (len(features),) or not np.isfinite(score).all():
            raise ModelBroken(f"model version {self.version} gave no finite score for each lawyer")
        return 0.5 * (1 + np.tanh(score / 2))  # the logistic form that does not overflow

    def weights_used(self, preset: str, complexity: str) -> str:
        """What `case_matches.weights_used` says, as JSON."""
        if self.model is not None:
            return json.dumps({"model_version": self.version})
        return _weights_json(preset, complexity)


@cache
def _weights_json(preset: str, complexity: str) -> str:
    return json.dumps(dict(zip(FEATURES, heuristic.weights(preset, complexity).round(4).tolist(), strict=True)))
