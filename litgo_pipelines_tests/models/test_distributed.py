"""Two Dask workers in processes of their own, on a snapshot whose row groups do not end where cases do."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("distributed", reason="dask[distributed] is not installed: the extra `scale` has it")

from distributed import Client, LocalCluster

from litgo_pipelines.learning.assets import candidate_model, training_snapshot
from litgo_pipelines.models import bundle
from litgo_pipelines.models import training as ranker
from litgo_pipelines.models.distributed import (
    ClusterTooSmall,
    WorkerLost,
    case_starts,
    fit,
    partitions,
    read_rows_between,
    train_distributed,
)
from litgo_pipelines.models.features import FEATURES
from litgo_pipelines.models.learners import Recipe
from litgo_pipelines.models.scorer import Trees
from litgo_pipelines.models.training_data import file_schema, read_rows
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.support import free_port
from litgo_pipelines_tests.worlds.learning import AS_OF, Marketplace

CASES, HELD_OUT = 1_500, 300
RECIPE = Recipe(folds=2, max_rounds=60, patience=10, learning_rate=0.1)
TREES = replace(RECIPE, kinds=("lambdamart",))
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
proof = pytest.mark.proof("litgo_pipelines/models", "litgo_pipelines/database/arrow.py")


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases of one to nine lawyers; the first two features decide, a tenth of the first is missing."""
    draw = np.random.default_rng(3)
    sizes = draw.integers(1, 10, CASES)
    case = np.repeat(np.arange(CASES), sizes)
    count = len(case)
    features = draw.random((count, len(FEATURES)))
    label = np.digitize(features[:, 0] + features[:, 1] + draw.normal(0, 0.3, count), [1.0, 1.4, 1.7])
    created = [BEGIN + timedelta(minutes=int(each)) for each in case]
    columns = {
        "case_id": [f"case-{each:05d}" for each in case],
        "lawyer_id": [f"lawyer-{each}" for each in range(count)],
        **{name: features[:, number] for number, name in enumerate(FEATURES)},
        FEATURES[0]: pa.array(features[:, 0], mask=draw.random(count) < 0.1),
        "label": label,
        "position": np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes) + 1,
        "split": np.where(case < CASES - HELD_OUT, "train", "holdout"),
        **dict.fromkeys(["case_created_at", "offered_at", "features_logged_at", "label_at"], created),
        "area": ["Civil"] * count,
        "uf": ["SP"] * count,
        "new_lawyer": [False] * count,
    }
    path = tmp_path_factory.mktemp("snapshot") / "snapshot.parquet"
    pq.write_table(pa.table(columns, schema=file_schema(1)), path, row_group_size=997)
    return path


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[str]:
    """A scheduler and two workers as docs/scaling.md starts them, each in a session of its own."""
    address = f"tcp://127.0.0.1:{free_port()}"
    port = address.rpartition(":")[2]
    commands = [["scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]]
    commands += [
        ["worker", address, "--nworkers", "1", "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path)]
    ] * 2
    with ExitStack() as stack:
        log = stack.enter_context((tmp_path / "log").open("w"))
        for command in commands:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *command], stdout=log, stderr=log, start_new_session=True
            )
            stack.callback(process.wait)
            stack.callback(os.killpg, process.pid, signal.SIGKILL)
        with Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield address


@pytest.mark.parametrize("count", [1, 2, 7, 5_000])
def test_partitions_hold_every_training_row_once_and_split_no_case(snapshot: Path, count: int) -> None:
    whole = read_rows(snapshot, "train")
    ranges = partitions(case_starts(snapshot), count)
    parts = [read_rows_between(snapshot, *each) for each in ranges]
    assert len(parts) <= count
    assert max(stop - start for start, stop in ranges) <= len(whole.labels) / count + 9
    for name in ("features", "labels", "groups", "position"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))


@proof
@pytest.mark.slow
def test_two_workers_learn_what_one_process_learns_and_the_same_each_time(snapshot: Path, scheduler: str) -> None:
    test = read_rows(snapshot, "holdout")
    seeds = [0, 1, 2]
    alone = ranker.train(read_rows(snapshot, "train").without_position(), TREES, seeds)
    together = train_distributed(snapshot, RECIPE, seeds, scheduler)
    again = train_distributed(snapshot, RECIPE, seeds[:1], scheduler)
    assert together.rounds == alone.rounds  # the sample holds everything
    first, other = together.scorers[0], again.scorers[0]
    assert isinstance(first, Trees)
    assert isinstance(other, Trees)
    assert first.text == other.text
    text = first.text
    assert "[num_machines: 2]" in text
    assert "127.0.0.1" not in text
    assert first.booster.feature_name() == list(FEATURES)
    means = [np.nanmean(ranker.seed_averaged_ndcg(each.scorers, test, (10,))) for each in (alone, together)]
    assert means[0] > 0.85
    assert abs(means[1] - means[0]) < 0.01


@proof
@pytest.mark.slow
def test_rounds_are_chosen_on_the_newest_cases_and_every_row_is_trained_on(snapshot: Path, scheduler: str) -> None:
    trained = train_distributed(snapshot, replace(TREES, max_rounds=10), [0], scheduler, sample_rows=2_000)
    starts = case_starts(snapshot)
    newest = read_rows_between(snapshot, int(starts[np.searchsorted(starts, starts[-1] - 2_000)]), int(starts[-1]))
    chosen = ranker.train(newest.without_position(), replace(TREES, max_rounds=10), [0])
    np.testing.assert_array_equal(trained.curve.mean, chosen.curve.mean)
    served = trained.scorers[0]
    assert isinstance(served, Trees)
    roots = [tree["tree_structure"] for tree in served.booster.dump_model()["tree_info"]]
    assert {root["internal_count"] for root in roots} == {starts[-1]}


@proof
@pytest.mark.slow
def test_too_few_workers_are_said_to_be_too_few(
    snapshot: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("litgo_pipelines.models.distributed.SECONDS_FOR_WORKERS", 0.2)
    with pytest.raises(ClusterTooSmall, match="fewer than 3 workers"):
        train_distributed(snapshot, replace(TREES, max_rounds=10), [0], scheduler, workers=3, sample_rows=500)


def pids(client: Client) -> dict[str, int]:
    return client.run(os.getpid)


@proof
@pytest.mark.slow
def test_a_worker_killed_while_it_trains_is_said_to_be_lost_and_both_work_again(snapshot: Path, machines: str) -> None:
    starts = case_starts(snapshot)
    with Client(machines, set_as_default=False) as client:
        before = pids(client)
        ranges = zip(sorted(before), partitions(starts, 2), strict=True)
        parts = {w: client.submit(read_rows_between, snapshot, *each, workers=[w]) for w, each in ranges}
        killed = min(before)
        kill = threading.Timer(2, os.kill, (before[killed], signal.SIGKILL))
        kill.start()
        started = time.monotonic()
        with pytest.raises(WorkerLost, match=killed):
            fit(client, parts, RECIPE, 1_000_000, 0)
        assert kill.finished.is_set()
        assert time.monotonic() - started < 150
        client.wait_for_workers(2, timeout=60)
        assert not set(pids(client).values()) & set(before.values()), "who waited for it is not the same process"


@proof
@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_a_training_that_loses_a_worker_ends_as_one_that_did_not(snapshot: Path, machines: str, seconds: float) -> None:
    """The worker is killed as a seed begins, among its rounds, or about when it is done."""
    undisturbed = train_distributed(snapshot, TREES, [0, 1], machines)
    said: list[str] = []

    def listen(stage: str) -> None:
        said.append(stage)
        if stage.endswith("train seed 1") and said.count(stage) == 1:
            with Client(machines, set_as_default=False) as client:
                pid = min(pids(client).values())
            threading.Timer(seconds, os.kill, (pid, signal.SIGKILL)).start()

    trained = train_distributed(snapshot, TREES, [0, 1], machines, say=listen)
    assert [each.text for each in texts(trained)] == [each.text for each in texts(undisturbed)]
    assert seconds or any("was lost; its seed is trained again" in stage for stage in said)


def texts(trained: ranker.Trained) -> list[Trees]:
    assert all(isinstance(each, Trees) for each in trained.scorers)
    return [each for each in trained.scorers if isinstance(each, Trees)]


@proof
@pytest.mark.slow
def test_workers_that_are_lost_again_and_again_end_the_training(snapshot: Path, machines: str) -> None:
    def listen(stage: str) -> None:
        if "train seed" in stage:
            with Client(machines, set_as_default=False) as client:
                os.kill(min(pids(client).values()), signal.SIGKILL)

    with pytest.raises(WorkerLost):
        train_distributed(snapshot, replace(TREES, max_rounds=10), [0], machines, sample_rows=500, say=listen)


@proof
@pytest.mark.slow
def test_a_fit_on_scattered_rows_uses_those_rows(snapshot: Path, scheduler: str) -> None:
    rows = read_rows(snapshot, "train")
    with Client(scheduler, set_as_default=False) as client:
        workers = sorted(client.scheduler_info(n_workers=-1)["workers"])
        halves = np.array_split(np.arange(len(rows.groups)), 2)
        parts = {w: client.scatter(rows.take(half), workers=[w]) for half, w in zip(halves, workers, strict=True)}
        booster = fit(client, parts, RECIPE, 3, 0)
    assert booster.num_trees() == 3
    assert booster.dump_model()["tree_info"][0]["tree_structure"]["internal_count"] == len(rows.labels)


@pytest.mark.slow
@pytest.mark.parametrize(("from_rows", "machines"), [(1_000, "2"), (3_000, "1")])
def test_a_retraining_with_enough_rows_goes_over_the_workers(
    learnable_market: Marketplace,
    scheduler: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    from_rows: int,
    machines: str,
) -> None:
    settings = {
        "LITGO_HOME": str(tmp_path),
        "LEARNING_TRAIN_SEEDS": "1",
        "LEARNING_DASK_SCHEDULER": scheduler,
        "LEARNING_DISTRIBUTED_ROWS": str(from_rows),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    result = dg.materialize(
        [training_snapshot, candidate_model],
        resources={"postgres": Postgres(url=learnable_market.url)},
        run_config={"ops": {"training_snapshot": {"config": {"as_of": AS_OF.isoformat()}}}},
    )
    (made,) = result.asset_materializations_for_node("candidate_model")
    candidate = bundle.load_bundle(tmp_path / "models" / str(made.metadata["candidate key"].value))
    assert candidate is not None
    served = candidate.model_path(0).read_text()
    assert f"[num_machines: {machines}]" in served or (machines == "1" and "[num_machines" not in served)
