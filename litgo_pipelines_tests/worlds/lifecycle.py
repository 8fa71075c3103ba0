"""A real MLflow store with small real models in it, and steps of a version's life as one-liners."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litgo_pipelines.lifecycle import ledger, transitions
from litgo_pipelines.lifecycle.ledger import Actor
from litgo_pipelines.lifecycle.states import LedgerState
from litgo_pipelines.models import registry, scorer
from litgo_pipelines.models.features import FEATURES
from litgo_pipelines.models.scorer import earlier_trees
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.simulation import faults
from litgo_pipelines.simulation.faults import Fault, Handler
from litgo_pipelines_tests.support import made_once
from litgo_pipelines_tests.worlds.sessions import kept

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
VERSIONS = 5
SERVED: dict[str, str] = {}  # what the ledger says of the store's one model, once there is a store


def _make_stores(folder: Path) -> None:
    """Two sqlite stores, an empty one and one with a LightGBM model, registered as versions 1 to 5."""
    import lightgbm as lgb

    mlflow = MLflow(tracking_uri=f"sqlite:///{folder / 'template.db'}")
    module, client = mlflow.module(), mlflow.client()
    shutil.copy(folder / "template.db", folder / "empty.db")
    features = np.random.default_rng(1).random((60, 8))
    booster = lgb.train(
        {"objective": "lambdarank", "verbose": -1, "min_data_in_leaf": 2, "deterministic": True},
        lgb.Dataset(features, (features[:, 6] * 4).astype(int), group=[20] * 3),
        3,
    )
    experiment = module.create_experiment("e", artifact_location=(folder / "artifacts").as_uri())
    with module.start_run(experiment_id=experiment) as run:
        served = earlier_trees(booster.model_to_string(), FEATURES)
        (folder / "served").write_text(scorer.digest(scorer.dumps(served)))
        logged = registry.log_scorer(module, served, features[:2])
        client.create_registered_model(registry.MODEL_NAME)
        for _ in range(VERSIONS):
            client.create_model_version(registry.MODEL_NAME, logged.model_uri, run.info.run_id)


@pytest.fixture(scope="session")
def mlflow_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of `template.db`, with a model, and `empty.db`: MLflow takes seconds to make its tables."""
    folder = made_once(tmp_path_factory, "mlflow-stores", _make_stores)
    SERVED["scorer_sha256"] = (folder / "served").read_text()
    return folder


@pytest.fixture
def mlflow(mlflow_stores: Path, tmp_path: Path) -> MLflow:
    store = tmp_path / "store.db"
    shutil.copy(mlflow_stores / "template.db", store)
    return MLflow(tracking_uri=f"sqlite:///{store}")


@pytest.fixture
def own_store(mlflow_stores: Path, tmp_path: Path) -> MLflow:
    """An empty store."""
    store = tmp_path / "own.db"
    shutil.copy(mlflow_stores / "empty.db", store)
    return MLflow(tracking_uri=f"sqlite:///{store}")


def healthy_but(fault: Fault) -> Fault:
    """A server whose page of health is fine, as a proxy's is, or MLflow's while its database or its bucket is not."""

    def answers(handler: Handler) -> None:
        (faults.answer(b"OK", content_type="text/html") if handler.path == "/health" else fault)(handler)

    return answers


class Life:
    """Transitions as the pipelines make them, each committed; `at` moves on by an hour with each."""

    def __init__(self, url: str) -> None:
        self.url, self.at = url, AT

    def by(self, reason: str = "because", by_hand: bool = False) -> Actor:
        self.at += timedelta(hours=1)
        return Actor("ana" if by_hand else "test", reason, self.at, "run", by_hand)

    def do(self, function: Any, *arguments: Any, **named: Any) -> Any:
        with kept(self.url) as connection, connection, connection.cursor() as cursor:
            return function(cursor, *arguments, **named)

    def candidate(self, version: str, data: str | None = None) -> ledger.Entry:
        evidence = {"snapshot_sha256": data or f"data {version}", **SERVED}
        return self.do(transitions.enter, version, f"key {version}", evidence, self.by())

    def challenger(self, version: str) -> ledger.Entry:
        self.candidate(version)
        return self.do(transitions.challenge, version, {"decision": version}, self.by("passed the gate"))

    def archived(self, version: str) -> ledger.Entry:
        self.candidate(version)
        return self.do(transitions.archive, version, {}, self.by("failed the gate"))

    def champion(self, version: str) -> ledger.Entry:
        """By an experiment, where there is a champion."""
        first = self.state().champion in (None, version)
        (self.candidate if first else self.challenger)(version)
        evidence = {"experiment_id": f"e{version}"}
        return self.do(transitions.promote, version, f"e{version}", evidence, self.by("better"))

    def rolled_back(self, version: str, successor: str | None) -> ledger.Entry:
        return self.do(transitions.roll_back, version, successor, f"incident {version}", {}, self.by("worse"))

    def state(self) -> LedgerState:
        return self.do(ledger.state)

    def rows(self, statement: str, parameters: Any = None) -> list[Any]:
        with kept(self.url) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall()


@pytest.fixture
def life(database_url: str) -> Life:
    return Life(database_url)
