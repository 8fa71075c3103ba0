"""Which ranker serves: the ledger's champion, from the registry or a copy kept of it; else the hand weights."""

from pathlib import Path
from typing import Any

import numpy as np

from litgo_pipelines.lifecycle import ledger, registry
from litgo_pipelines.matching.batch import Batch
from litgo_pipelines.matching.explain import Parts
from litgo_pipelines.matching.hand_weights import FEATURES
from litgo_pipelines.matching.ranking import Ranker
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable


class Rankers:
    """Rankers by version, each loaded once. folder: where copies of served models are kept."""

    def __init__(self, mlflow: MLflow, folder: Path) -> None:
        self._mlflow, self._folder = mlflow, folder
        self._loaded: dict[str, Ranker] = {}

    def __call__(self, cursor: Any, batch: Batch | None) -> Ranker:
        """For `match_pending`: the ranker an open batch began with, or (None) the one that serves now."""
        if batch is not None:
            return self.version(batch.model_version)
        champion = ledger.current_champion(cursor)
        return self.version(champion.version if champion else None)

    def version(self, version: str | None) -> Ranker:
        """A version as a ranker, tried on two rows. Hand weights for None, and when it cannot rank, saying why."""
        if version is None:
            return Ranker()
        if version not in self._loaded:
            self._loaded[version] = self._load(version)
        return self._loaded[version]

    def _load(self, version: str) -> Ranker:
        try:
            ranker = Ranker(registry.load_kept(self._mlflow, version, self._folder), version)
            two = np.array([np.zeros(len(FEATURES)), np.ones(len(FEATURES))])
            ranker.relevance(two, ["balanced"], ["MEDIUM"], np.array([2]))
        except MLflowUnavailable as error:
            return Ranker(fallback="unavailable", problem=str(error))
        except Exception as error:  # whatever is wrong with a model, cases still need lawyers
            return Ranker(fallback="broken", problem=f"version {version}: {type(error).__name__}: {error}")
        return ranker

    def parts(self, version: str | None) -> Parts | None:
        """What explains a version's relevances (`explain.contributions`); None for the hand weights."""
        model = self.version(version).model
        if model is None:
            return None
        booster = model.get_raw_model()
        return lambda features: np.asarray(booster.predict(features, pred_contrib=True))[:, :-1]
