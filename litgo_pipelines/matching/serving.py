"""Serving rankers: the ledger's champion, an experiment's challenger, the never-treated holdout's older version.

From the registry or copies kept of them; else the heuristic ranker.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from litgo_pipelines.database import Cursor
from litgo_pipelines.experiments import store
from litgo_pipelines.experiments.assignment import CONTROL, TREATMENT
from litgo_pipelines.lifecycle import ledger
from litgo_pipelines.matching.explain import Parts
from litgo_pipelines.matching.plan import HOLDOUT, Arms, Batch
from litgo_pipelines.models import registry
from litgo_pipelines.models.features import BASE
from litgo_pipelines.models.ranking import Ranker
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable


class Rankers:
    """Rankers by version, each loaded once. folder: where copies of served models are kept.

    experiments_enabled: off, nobody is treated. holdout_points: basis points of the clients whom the champion never
    ranks for; the version before it does, or the heuristic ranker.
    """

    def __init__(
        self, mlflow: MLflow, folder: Path, *, experiments_enabled: bool = True, holdout_points: int = 0
    ) -> None:
        self._mlflow, self._folder = mlflow, folder
        self._experiments, self._holdout_points = experiments_enabled, holdout_points
        self._loaded: dict[str, Ranker] = {}
        self._hashes: dict[str, str] = {}

    def __call__(self, cursor: Cursor, batch: Batch | None) -> Arms:
        """For `match_pending`: what an open batch began with, or (None) what serves now."""
        self.know(cursor)
        if batch is not None:
            running = None
            if batch.experiment is not None and batch.phase is not None:
                running = store.load_experiment(cursor, batch.experiment, batch.phase)
            return self._arms(batch.model_version, running, batch.treatment_version, batch.holdout)
        champion = ledger.current_champion(cursor)
        serves = champion.version if champion else None
        running = store.running_experiment(cursor) if self._experiments else None
        if running and (running.control != serves or self.version(serves).fallback):
            running = None  # its control is gone, or cannot rank: nobody is exposed
        holdout = (ledger.state(cursor).previous or "") if champion and self._holdout_points else None
        return self._arms(serves, running, running.treatment if running else None, holdout)

    def _arms(
        self, champion: str | None, running: store.RunningExperiment | None, treatment: str | None, holdout: str | None
    ) -> Arms:
        ranker = self.version(champion)
        rankers: dict[str | None, Ranker] = {None: ranker}
        if holdout is not None:
            rankers[HOLDOUT] = self.version(holdout or None)
        if running is None:
            return Arms(rankers, self._only_holdout if holdout is not None else Arms.alone(ranker).assign)
        challenger = self.version(treatment)
        if challenger.fallback:  # then everybody gets the champion's offers, and who was meant to be treated is counted
            challenger = replace(ranker, fallback=challenger.fallback, problem=challenger.problem)
        rankers |= {CONTROL: ranker, TREATMENT: challenger}

        def assign(cursor: Cursor, clients: Sequence[str]) -> list[str | None]:
            held = self._only_holdout(cursor, clients) if holdout is not None else [None] * len(clients)
            arms = [arm for arm, _ in store.arms_of_clients(cursor, running, clients)]
            return [arm or kept for arm, kept in zip(arms, held, strict=True)]

        return Arms(rankers, assign, running.experiment, running.phase)

    def _only_holdout(self, cursor: Cursor, clients: Sequence[str]) -> list[str | None]:
        return [HOLDOUT if store.in_holdout(client, self._holdout_points) else None for client in clients]

    def know(self, cursor: Cursor) -> None:
        """Read what file each version is, which `version` and `parts` compare with."""
        self._hashes = ledger.scorer_hashes(cursor)

    def version(self, version: str | None) -> Ranker:
        """A version as a ranker, tried on two rows. The heuristic ranker for None, and, with a reason, if it fails."""
        if version is None:
            return Ranker()
        if version not in self._loaded:
            self._loaded[version] = self._load(version)
        return self._loaded[version]

    def _load(self, version: str) -> Ranker:
        try:
            model = registry.load_kept(self._mlflow, version, self._folder, self._hashes.get(version))
            ranker = Ranker(model, version, registry.names_of(model))
            two = np.array([np.zeros(len(BASE)), np.ones(len(BASE))])
            ranker.relevance(two, ["balanced"], ["MEDIUM"], np.array([2]))
        except MLflowUnavailable as error:
            return Ranker(fallback="unavailable", problem=str(error))
        except Exception as error:  # whatever is wrong with a model, cases still need lawyers
            return Ranker(fallback="broken", problem=f"version {version}: {type(error).__name__}: {error}")
        return ranker

    def parts(self, version: str | None) -> Parts | None:
        """What explains a version's relevances (`explain.contributions`); None for the heuristic ranker."""
        ranker = self.version(version)
        if ranker.model is None:
            return None
        return Parts(ranker.names, registry.parts(ranker.model))
