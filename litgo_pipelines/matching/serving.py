"""Which ranker serves: the ledger's champion, from the registry or a copy kept of it; else the hand weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from litgo_pipelines.lifecycle import ledger, registry
from litgo_pipelines.matching.batch import Batch
from litgo_pipelines.matching.hand_weights import FEATURES
from litgo_pipelines.matching.ranking import Ranker
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable


def ranker_for(mlflow: MLflow, folder: Path) -> Callable[[Any, Batch | None], Ranker]:
    """For `match_pending`: the ranker an open batch began with, or (None) the one that serves now.

    Loads a version once. folder: where copies of served models are kept.
    """
    loaded: dict[str, Ranker] = {}

    def ranker(cursor: Any, batch: Batch | None) -> Ranker:
        if batch is None:
            champion = ledger.current_champion(cursor)
            version = champion.version if champion else None
        else:
            version = batch.model_version
        if version is None:
            return Ranker()
        if version not in loaded:
            loaded[version] = load(mlflow, version, folder)
        return loaded[version]

    return ranker


def load(mlflow: MLflow, version: str, folder: Path) -> Ranker:
    """A version as a ranker, tried on two rows; the hand weights with the reason when it cannot rank."""
    try:
        model = registry.load_kept(mlflow, version, folder)
        ranker = Ranker(model, version)
        ranker.relevance(np.array([np.zeros(len(FEATURES)), np.ones(len(FEATURES))]), ["balanced"], ["MEDIUM"],
                         np.array([2]))  # fmt: skip
    except MLflowUnavailable as error:
        return Ranker(fallback="unavailable", problem=str(error))
    except Exception as error:  # whatever is wrong with a model, cases still need lawyers
        return Ranker(fallback="broken", problem=f"version {version}: {type(error).__name__}: {error}")
    return ranker
