"""After everything was lost and restored, night, matching and champion go on as if nothing had happened."""

import shutil
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from litgo_pipelines.backup import make, restore
from litgo_pipelines.backup.make import Databases
from litgo_pipelines.database import connect, normalise
from litgo_pipelines.definitions import build_defs
from litgo_pipelines.equity.assets import NIGHTS
from litgo_pipelines.matching.batch import match_pending
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines.matching.serving import Rankers
from litgo_pipelines.models import registry, scorer
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds import matching, sessions
from litgo_pipelines_tests.worlds.lifecycle import SERVED, Life, mlflow_stores

pytestmark = [
    pytest.mark.slow,
    pytest.mark.one_server,
    pytest.mark.proof(
        "litgo_pipelines/backup",
        "litgo_pipelines/database",
        "litgo_pipelines/equity",
        "litgo_pipelines/lifecycle",
        "litgo_pipelines/matching",
        "litgo_pipelines/models",
        "litgo_pipelines_tests/worlds",
    ),
]

__all__ = ["mlflow_stores"]  # a fixture

SECRET = "um segredo bem comprido"
DAY = timedelta(days=1)
BACKED_UP = matching.AS_OF + timedelta(hours=1)
MORE_CASES = (
    "INSERT INTO public.cases (id, client_id, area, coords, description, created_at) "
    "SELECT md5('later ' || id)::uuid, client_id, area, coords, 'uma parede que caiu ' || id, "
    "created_at + interval '12 hours' FROM public.cases ORDER BY id LIMIT 5"
)


@pytest.fixture
def of(postgres_server_url: str, database_url: str) -> Iterator[Databases]:
    names = [f"litgo_goes_on_{uuid.uuid4().hex[:8]}" for _ in range(2)]
    execute(postgres_server_url, *(f"CREATE DATABASE {name}" for name in names))
    yield Databases(database_url, *(normalise(postgres_server_url, database=name) for name in names))
    execute(postgres_server_url, *(f"DROP DATABASE {name} WITH (FORCE)" for name in names))


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with connect(url, application_name="litgo-restore") as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall() if cursor.description else []


def registered(mlflow: MLflow, served: scorer.Scorer, artifacts: Path) -> str:
    """The version's number."""
    module = mlflow.module()
    experiment = module.create_experiment(mlflow.experiment, artifact_location=artifacts.as_uri())
    with module.start_run(experiment_id=experiment):
        logged = registry.log_scorer(module, served, registry.example(len(served.names)))
        return str(module.register_model(logged.model_uri, registry.MODEL_NAME).version)


def night(url: str, key: str) -> None:
    job = build_defs(postgres=Postgres(url=url)).resolve_job_def("nightly_equity")
    tags = {"dagster/asset_partition_range_start": key, "dagster/asset_partition_range_end": key}
    assert job.execute_in_process(tags=tags, raise_on_error=False).success


def match(url: str, mlflow: MLflow, folder: Path, as_of: Any) -> None:
    rankers = Rankers(mlflow, folder)
    with sessions.kept(url) as connection:
        (result,) = match_pending(connection, Plan(), rankers, as_of, "a run")
    assert (result.problem, len(result.failures)) == ("", 0)


def outcome(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that night and matching write, and what decides them."""
    return {
        "offers": matching.offers(url),
        "history": ask(url, "SELECT h::text FROM litgo.equity_history h ORDER BY 1"),
        "distribution": ask(url, "SELECT d::text FROM litgo.offer_distribution d ORDER BY 1"),
        "written back": ask(
            url, "SELECT id, cases_30d, capacidade_mensal, last_offered_at FROM public.lawyers ORDER BY 1"
        ),
        "ranked by": ask(url, "SELECT case_id, round, ranker, model_version FROM litgo.exposures ORDER BY 1, 2"),
        "ledger": ask(url, "SELECT l::text FROM litgo.model_ledger l ORDER BY sequence"),
    }


def test_the_next_night_matching_and_champion_go_on(
    of: Databases, mlflow_stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, today = tmp_path / "home", NIGHTS.get_partition_key_for_timestamp(matching.AS_OF.timestamp())
    yesterday = NIGHTS.get_partition_key_for_timestamp((matching.AS_OF - DAY).timestamp())
    monkeypatch.setenv("LITGO_HOME", str(home))
    mlflow, served = MLflow(tracking_uri=of.mlflow), home / "models" / "served"
    matching.fill(of.litgo)
    template = MLflow(tracking_uri=f"sqlite:///{mlflow_stores / 'template.db'}")
    booster = registry.load_model(template, "1", SERVED["scorer_sha256"]).scorer
    version = registered(mlflow, booster, home / "mlflow-artifacts")
    Life(of.litgo).champion(version)
    night(of.litgo, yesterday)
    match(of.litgo, mlflow, served, matching.AS_OF)
    before = outcome(of.litgo)
    path = make.backup(of, home, tmp_path / "backups", SECRET, BACKED_UP)

    def next_day(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
        ask(of.litgo, MORE_CASES)
        night(of.litgo, today)
        match(of.litgo, mlflow, folder, matching.AS_OF + DAY)
        return outcome(of.litgo)

    undisturbed = next_day(served)
    new = {case for case, *_ in undisturbed["offers"]} - {case for case, *_ in before["offers"]}
    assert len([case for case, *_ in undisturbed["offers"] if case in new]) == 5 * 5
    assert {(ranker, by) for _, _, ranker, by in undisturbed["ranked by"]} == {("model", version)}

    sessions.close(of.litgo)
    execute(
        of.mlflow,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
        "pg_backend_pid()",
    )
    for url in (of.litgo, of.dagster, of.mlflow):
        execute(url, "DROP SCHEMA IF EXISTS litgo_source, litgo, public CASCADE", "CREATE SCHEMA public")
    shutil.rmtree(home)
    restore.restore(path, of, home, SECRET, BACKED_UP + DAY)

    assert outcome(of.litgo) == before, "what came after the backup is lost, and nothing else"
    kept = sorted(served.iterdir())
    assert [file.name for file in kept] == [registry.kept_name(mlflow, version)]
    for file in kept:
        file.unlink()  # so that MLflow itself is asked for the booster
    assert next_day(served) == undisturbed
    assert registry.load_kept(mlflow, version, served, SERVED["scorer_sha256"]).scorer == booster
