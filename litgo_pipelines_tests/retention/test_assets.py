"""The nightly pruning on a real Postgres, real Dagster runs, real files and a real MLflow store."""

import gzip
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from litgo_pipelines import steps
from litgo_pipelines.automation import asset_job, following_sensor
from litgo_pipelines.jobs import JOBS
from litgo_pipelines.learning import retrainings
from litgo_pipelines.models import registry, scorer
from litgo_pipelines.models.features import FEATURES
from litgo_pipelines.models.scorer import earlier_trees
from litgo_pipelines.observability.metrics import add, count
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.retention import rows, storage
from litgo_pipelines.retention.assets import assets
from litgo_pipelines.settings import settings
from litgo_pipelines_tests.worlds import persons
from litgo_pipelines_tests.worlds.lifecycle import Life, mlflow, own_store
from litgo_pipelines_tests.worlds.matching import fill, match
from litgo_pipelines_tests.worlds.sessions import kept

pytestmark = pytest.mark.slow

__all__ = ["mlflow", "own_store"]  # fixtures

DAY = timedelta(days=1)


@pytest.fixture
def life(database_url: str) -> Life:
    return Life(database_url)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LITGO_HOME", str(tmp_path))
    monkeypatch.setenv("LITGO_DAGSTER_FILES", str(tmp_path / "dagster"))
    return tmp_path


def prune(
    life: Life, mlflow: MLflow, at: datetime | None, instance: dg.DagsterInstance | None = None
) -> dict[str, Any]:
    defs = dg.Definitions(
        assets=assets,
        jobs=[asset_job(JOBS["retention"])],
        resources={"postgres": Postgres(url=life.url), "mlflow": mlflow},
    )
    with pytest.MonkeyPatch.context() as patch:
        if at:
            patch.setattr(steps, "now", lambda: at)
        done = defs.resolve_job_def("retention").execute_in_process(
            run_config={"ops": {"pruned_storage": {"config": {"as_of": at and at.isoformat()}}}}, instance=instance
        )
    (event,) = done.asset_materializations_for_node("pruned_storage")
    return {name: value.value for name, value in event.metadata.items()}


MESSAGES = """
INSERT INTO litgo.deliveries (delivery_id, recipient_id, status, opened_at, next_attempt_at, finished_at)
SELECT md5('d' || n)::uuid, md5('r' || n)::uuid, 'accepted', %(at)s - n * interval '1 day', %(at)s,
       %(at)s - n * interval '1 day' FROM generate_series(1, 120) n;
INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at, settled_at, status, delivery_id)
SELECT 'offer', md5('r' || n)::uuid, 'k' || n, '{}', %(at)s - n * interval '1 day', %(at)s - n * interval '1 day',
       CASE WHEN n %% 10 = 0 THEN 'dead' ELSE 'accepted' END, CASE WHEN n %% 10 > 0 THEN md5('d' || n)::uuid END
FROM generate_series(1, 120) n;
INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at)
VALUES ('offer', md5('old')::uuid, 'still waits', '{}', %(at)s - interval '1 year');
INSERT INTO litgo.job_runs (run_id, job_name, status, ended_at)
SELECT 'r' || n, CASE WHEN n = 120 THEN 'retraining' ELSE 'matching' END, 'success', %(at)s - n * interval '5 days'
FROM generate_series(1, 120) n;
INSERT INTO litgo.metric_state (name, labels, value) VALUES ('gone_total', '{}', 3), ('gone_seconds_bucket', '{}', 1)
"""


def test_rows_go_by_age_and_what_waits_or_is_newest_stays(
    life: Life, mlflow: MLflow, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BATCH", 7)
    at = datetime(2026, 6, 1, 12, tzinfo=UTC)
    life.do(lambda c: c.execute(MESSAGES, {"at": at}))
    life.do(lambda c: add(c, [count("offers_created_total", 5)]))
    with kept(life.url) as connection:
        first = rows.let_go(connection, "messages", at - 90 * DAY, 7)
    assert first == 27 + 30  # of each of the days 91 to 120 a message, but every tenth is dead; and its delivery
    found = prune(life, mlflow, at)
    assert found["in all"] == 39 + 2  # runs but the newest of each job; two series
    assert life.rows("SELECT status, count(*) FROM litgo.outbox GROUP BY 1 ORDER BY 1") == [
        ("accepted", 81),
        ("dead", 12),
        ("pending", 1),
    ]
    assert life.rows("SELECT count(*) FROM litgo.deliveries") == [(90,)]
    assert life.rows("SELECT job_name, count(*) FROM litgo.job_runs GROUP BY 1 ORDER BY 1") == [
        ("matching", 80),
        ("retraining", 1),
    ]
    assert life.rows("SELECT value FROM litgo.metric_state WHERE name = 'offers_created_total'") == [(5.0,)]
    assert prune(life, mlflow, at)["in all"] == 0


def test_an_explanation_goes_and_the_match_stays(life: Life, mlflow: MLflow, home: Path) -> None:
    fill(life.url, cases=3)
    match(life.url)
    life.rows("DELETE FROM litgo.candidate_sets RETURNING case_id")
    before = life.rows("SELECT case_id, round, matched_at, candidates FROM litgo.matchings ORDER BY 1")
    (newest,) = life.rows("SELECT max(matched_at) FROM litgo.matchings")[0]
    assert prune(life, mlflow, newest + 399 * DAY)["in all"] == 0
    assert prune(life, mlflow, newest + 401 * DAY)["in all"] == 3
    assert life.rows("SELECT case_id, round, matched_at, candidates FROM litgo.matchings ORDER BY 1") == before
    assert life.rows("SELECT DISTINCT considered FROM litgo.matchings") == [([],)]


def test_who_could_be_chosen_is_known_for_ninety_days(life: Life, mlflow: MLflow, home: Path) -> None:
    fill(life.url, cases=3)
    match(life.url)
    (newest,) = life.rows("SELECT max(matched_at) FROM litgo.matchings")[0]
    assert prune(life, mlflow, newest + 89 * DAY)["in all"] == 0
    assert prune(life, mlflow, newest + 91 * DAY)["in all"] == 3
    assert life.rows("SELECT count(*) FROM litgo.candidate_sets") == [(0,)]
    assert life.rows("SELECT count(*) FROM litgo.matchings") == [(3,)]


def test_runs_go_with_their_events_and_each_jobs_newest_stays(
    life: Life, mlflow: MLflow, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dg.op
    def nothing() -> None: ...

    @dg.job(name="matching")
    def matching() -> None:
        nothing()

    @dg.job(name="nightly_equity")
    def nightly() -> None:
        nothing()

    compute_logs: Any = {
        "module": "dagster.core.storage.local_compute_log_manager",
        "class": "LocalComputeLogManager",
        "config": {"base_dir": str(home / "dagster")},
    }
    with dg.instance_for_test(overrides={"compute_logs": compute_logs}) as instance:
        done = [job.execute_in_process(instance=instance).run_id for job in (matching, matching, nightly, nightly)]
        follows = {"dagster/sensor_name": following_sensor.name}
        reports = [nightly.execute_in_process(instance=instance, tags=follows).run_id for _ in range(2)]
        for run_id in done:
            (home / "dagster" / run_id / "compute_logs").mkdir(parents=True, exist_ok=True)
            (home / "dagster" / "storage" / run_id).mkdir(parents=True)
        start = steps.now()
        prune(life, mlflow, start, instance)
        assert all(instance.has_run(run_id) for run_id in done)
        instance.wipe_assets([dg.AssetKey("pruned_storage")])  # as if no night had been before
        prune(life, mlflow, start + 20 * DAY, instance)
        assert [instance.has_run(run_id) for run_id in done] == [False, True, True, True]
        assert [instance.has_run(run_id) for run_id in reports] == [False, True], "a report's runs are not kept as long"
        assert not instance.all_logs(done[0])
        for folder in (home / "dagster", home / "dagster" / "storage"):
            assert [(folder / run_id).exists() for run_id in done[:2]] == [False, True]
        instance.wipe_assets([dg.AssetKey("pruned_storage")])
        prune(life, mlflow, start + 500 * DAY, instance)
        assert [instance.has_run(run_id) for run_id in [*done, *reports]] == [False, True, False, False, False, True]


def test_files_of_models_go_unless_they_may_yet_serve(life: Life, mlflow: MLflow, home: Path) -> None:
    at = datetime.now(UTC) + 100 * DAY
    for version in "124":
        life.champion(version)  # 2 may be rolled back to, and then 1, which is archived
    life.archived("3")
    for number in range(1, 8):
        values: dict[str, Any] = {
            "snapshot_path": f"snapshots/s{number}",
            "snapshot_sha256": "x",
            "snapshot": {},
            "candidate": {},
            "candidate_key": f"k{number}",
            "bundle_path": None if number == 6 else f"models/b{number}",
        }
        began = at - DAY if number == 5 else life.at  # 6 failed, 7 waits for MLflow
        life.do(retrainings.begin, f"root {number}", began)
        life.do(lambda c, n=number, v=values: retrainings.record_step(c, f"root {n}", **v))
        life.do(lambda c, n=number: retrainings.record_step(c, f"root {n}", mlflow_version=str(n) if n < 5 else None))
        if number != 7:
            life.do(lambda c, n=number: retrainings.record_step(c, f"root {n}", evaluation={"decision": {}}))
        life.do(
            lambda c, n=number, b=began: c.execute(
                "UPDATE litgo.retrainings SET started_at = %s WHERE root_run_id = %s", (b, f"root {n}")
            )
        )
        (home / "snapshots").mkdir(exist_ok=True)
        (home / "snapshots" / f"s{number}").touch()
        (home / "models" / f"b{number}").mkdir(parents=True)
    for version in "1234":
        (settings().served_models / registry.kept_name(mlflow, version)).mkdir(parents=True)
    settings().triage_models.mkdir(parents=True)
    for number in (1, 2):
        (settings().triage_models / f"t{number}").touch()
        os.utime(settings().triage_models / f"t{number}", (number, number))
    prune(life, mlflow, at)
    assert sorted(path.name for path in (home / "snapshots").iterdir()) == ["s1", "s2", "s4", "s5", "s7"]
    assert sorted(p.name for p in (home / "models").iterdir()) == ["b1", "b2", "b4", "b5", "b7", "served", "triage"]
    kept = {registry.kept_name(mlflow, version) for version in "124"}
    assert {path.name for path in settings().served_models.iterdir()} == kept
    assert [path.name for path in settings().triage_models.iterdir()] == ["t2"]


def test_a_log_begins_anew_while_it_is_written_to_and_old_ones_go(tmp_path: Path) -> None:
    at = datetime.now(UTC)
    with (tmp_path / "daemon.log").open("ab", buffering=0) as log:
        log.write(b"a" * 100)
        assert storage.logs(tmp_path, at, at - DAY, most=50) == 0
        log.write(b"b")
    (packed,) = tmp_path.glob("*.gz")
    assert gzip.decompress(packed.read_bytes()) == b"a" * 100
    assert (tmp_path / "daemon.log").read_bytes() == b"b"
    assert storage.logs(tmp_path, at, at + DAY, most=50) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["daemon.log"]


@pytest.mark.parametrize("given", [False, True])
def test_a_clock_that_jumps_ahead_costs_two_days_a_night(
    life: Life, mlflow: MLflow, home: Path, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    """Whether a person gave the instant or not."""
    at = datetime(2026, 6, 1, 12, tzinfo=UTC)
    life.do(lambda c: c.execute(MESSAGES, {"at": at}))
    left = []
    with dg.DagsterInstance.ephemeral() as instance:
        for now in (at, at + 365 * DAY, at + DAY):  # and back
            monkeypatch.setattr(steps, "now", lambda now=now: now)
            prune(life, mlflow, now if given else None, instance)
            left += life.rows("SELECT count(*) FROM litgo.outbox WHERE status = 'accepted'")
    assert left == [(81,), (80,), (80,)]  # every tenth is dead: of the days 89 and 90 one was sent


def test_archived_versions_lose_their_files_and_stay_in_the_registry(
    life: Life, own_store: MLflow, tmp_path: Path, home: Path
) -> None:
    mlflow = own_store
    sha256 = store_with_two_versions(mlflow, tmp_path)
    life.champion("1")
    life.archived("2")
    at = life.at
    assert prune(life, mlflow, at + 399 * DAY)["in all"] == 0
    assert prune(life, mlflow, at + 401 * DAY)["in all"] == 1
    assert registry.load_model(mlflow, "1", sha256).scorer.names == FEATURES
    with pytest.raises(registry.VersionMissing):
        registry.load_model(mlflow, "2", sha256)
    client = mlflow.client()
    assert client.get_model_version(registry.MODEL_NAME, "2").tags["files_deleted"]
    assert client.get_run(str(client.get_model_version(registry.MODEL_NAME, "2").run_id)).data.metrics == {"ndcg": 0.5}
    assert prune(life, mlflow, at + 402 * DAY)["in all"] == 0


def test_a_version_whose_run_is_gone_holds_up_no_other(
    life: Life, own_store: MLflow, tmp_path: Path, home: Path
) -> None:
    """A person deleted it, and `mlflow gc` what was deleted."""
    from click.testing import CliRunner
    from mlflow.cli import gc

    store_with_two_versions(own_store, tmp_path)
    life.archived("1")
    life.archived("2")
    client = own_store.client()
    run_id = str(client.get_model_version(registry.MODEL_NAME, "1").run_id)
    client.delete_run(run_id)
    done = CliRunner().invoke(gc, ["--backend-store-uri", own_store.tracking_uri, "--run-ids", run_id])
    assert done.exit_code == 0, done.output
    assert prune(life, own_store, life.at + 401 * DAY)["in all"] == 2
    assert not list((tmp_path / "artifacts").rglob("scorer-*"))


def test_without_mlflow_the_rest_is_done(life: Life, home: Path) -> None:
    life.champion("1")
    life.archived("2")
    life.do(lambda c: c.execute("INSERT INTO litgo.metric_state (name, labels, value) VALUES ('gone_total', '{}', 3)"))
    found = prune(life, MLflow(tracking_uri="http://127.0.0.1:1"), life.at + 500 * DAY)
    assert found["in all"] == 1
    assert "does not answer" in str(found["deleted"])


def store_with_two_versions(mlflow: MLflow, folder: Path) -> str:
    """Two versions with files of their own and one content; returns its SHA-256."""
    import lightgbm as lgb
    import numpy as np

    module, client = mlflow.module(), mlflow.client()
    features = np.random.default_rng(1).random((40, 8))
    data = lgb.Dataset(features, (features[:, 6] * 4).astype(int), group=[20] * 2)
    booster = lgb.train({"objective": "lambdarank", "verbose": -1, "min_data_in_leaf": 2}, data, 2)
    experiment = module.create_experiment("e", artifact_location=(folder / "artifacts").as_uri())
    client.create_registered_model(registry.MODEL_NAME)
    for _ in range(2):
        with module.start_run(experiment_id=experiment) as run:
            served = earlier_trees(booster.model_to_string(), FEATURES)
            logged = registry.log_scorer(module, served, features[:2])
            module.log_metric("ndcg", 0.5)
            module.log_text("m", "bundle/model-1.txt")
            client.create_model_version(registry.MODEL_NAME, logged.model_uri, run.info.run_id)
    return scorer.digest(scorer.dumps(served))


def test_rows_about_people_go_when_their_matter_is_over(life: Life, mlflow: MLflow, home: Path) -> None:
    people = persons.fill(life.url, home)
    at, year = persons.AT, 400 * DAY
    assert prune(life, mlflow, at + year + 9 * DAY)["in all"] > 0
    counts = "SELECT (SELECT count(*) FROM litgo.{0})"
    left = {
        table: life.rows(counts.format(table))[0][0] for table in ("triage", "contract_documents", "contract_requests")
    }
    assert left == {"triage": 1, "contract_documents": 1, "contract_requests": 1}  # still open
    assert life.rows("SELECT count(*) FROM litgo.equity_history") == [(1,)]
    life.do(lambda c: c.execute("UPDATE cases SET status = 'closed'; UPDATE contracts SET status = 'closed'"))
    prune(life, mlflow, at + year + 9 * DAY)
    for table in ("triage", "contract_documents", "contract_requests"):
        assert life.rows(counts.format(table)) == [(0,)], table
    assert life.rows("SELECT contract_id::text FROM litgo.contract_events") == [(people.contract,)]


def test_vectors_of_texts_that_are_compared_stay_and_none_go_while_rows_may_be_hidden(life: Life, home: Path) -> None:
    persons.fill(life.url, home)
    at = persons.AT + 91 * DAY
    count = "SELECT count(*) FROM litgo.text_embeddings"
    with kept(life.url) as connection:
        assert rows.let_go(connection, "vectors", at - 90 * DAY) == 0  # a case that waits, a lawyer's curriculum
        life.do(lambda c: c.execute("UPDATE public.cases SET status = 'cancelled'"))
        life.do(lambda c: c.execute("INSERT INTO litgo.source_counts VALUES ('cases', 100, now())"))
        assert rows.let_go(connection, "vectors", at) == 0
        life.do(lambda c: c.execute("DELETE FROM litgo.source_counts"))
        assert rows.let_go(connection, "vectors", at - 92 * DAY) == 0
        assert rows.let_go(connection, "vectors", at) == 1
    assert life.rows(count) == [(1,)]
    assert life.rows("SELECT count(*) FROM litgo.text_stems") == [(1,)]
