"""Pruning outside the database: Dagster's runs, files under LITGO_HOME, files of archived models in MLflow."""

import gzip
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from litgo_pipelines.database import Cursor
from litgo_pipelines.jobs import FOLLOWING_SENSOR
from litgo_pipelines.lifecycle import ledger
from litgo_pipelines.lifecycle.states import LedgerState
from litgo_pipelines.models.registry import MODEL_NAME, known
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.retention.policy import FREQUENT, NEVER_AGAIN, removable

if TYPE_CHECKING:
    import dagster as dg

PAGE = 1_000
MOST_RUNS = 50_000  # a night
MOST_LOG = 50 << 20  # bytes
DELETED = "files_deleted"  # tag of a version whose files are gone

Step = Callable[[], object]


def runs(
    instance: "dg.DagsterInstance", files: Path | None, before: datetime, *, frequent: bool, step: Step = lambda: None
) -> int:
    """Dagster runs that ended and are older: with their events, check results and compute logs; at most MOST_RUNS.

    Each job's newest stays, because what it made last is looked up there. `files`: Dagster's folder of what runs store.
    """
    import dagster as dg

    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    kept: dict[str, str] = {}
    due: list[str] = []
    cursor = None
    while len(due) < MOST_RUNS:  # all pages first: a page is found by the run before it, which must be there
        page = instance.get_runs(dg.RunsFilter(statuses=ended, created_before=before), cursor, PAGE, ascending=True)
        for run in page:
            if run.job_name not in kept:
                kept[run.job_name] = instance.get_runs(dg.RunsFilter(job_name=run.job_name), limit=1)[0].run_id
            if _often(run) == frequent and run.run_id != kept[run.job_name]:
                due.append(run.run_id)
        if len(page) < PAGE:
            break
        cursor = page[-1].run_id
    for run_id in due:
        _forget_checks(instance, run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        if files is not None:
            shutil.rmtree(files / "storage" / run_id, ignore_errors=True)
        instance.delete_run(run_id)
        step()
    return len(due)


def _often(run: "dg.DagsterRun") -> bool:
    """Of a job that runs all day, or of a report that follows another asset, which has no job of its own."""
    return run.job_name in FREQUENT or run.tags.get("dagster/sensor_name") == FOLLOWING_SENSOR


def _forget_checks(instance: "dg.DagsterInstance", run_id: str) -> None:
    """Results of asset checks, which Dagster leaves behind when it deletes a run."""
    from litgo_pipelines.dagster_internals import AssetCheckExecutionsTable as Checks
    from litgo_pipelines.dagster_internals import SqlEventLogStorage

    with cast(SqlEventLogStorage, instance.event_log_storage).index_connection() as connection:
        connection.execute(Checks.delete().where(Checks.c.run_id == run_id))


def needed_files(cursor: Cursor, after: datetime) -> tuple[set[str], set[str]]:
    """(snapshots, bundles) by name: of retrainings begun since, and of versions that may yet serve or be judged."""
    state = ledger.state(cursor)
    alive = list(state.stages.keys() - put_away(state))
    cursor.execute(
        "SELECT snapshot_path, bundle_path FROM litgo.retrainings WHERE started_at >= %s OR mlflow_version = ANY(%s) "
        "OR bundle_path IS NOT NULL AND evaluation IS NULL",
        (after, alive),
    )
    snapshots, bundles = zip(*cursor.fetchall(), strict=True) if cursor.rowcount else ((), ())
    return ({Path(path).name for path in snapshots if path}, {Path(path).name for path in bundles if path})


def files(folder: Path, needed: Iterable[str], before: datetime) -> int:
    """Entries of a folder that are older and not needed; folders with all that is in them."""
    gone = removable(_entries(folder), needed, before)
    for name in gone:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return len(gone)


def logs(folder: Path, at: datetime, before: datetime, most: int = MOST_LOG) -> int:
    """Logs that grew beyond `most` bytes are put away compressed and begin anew; old ones go. Returns how many went.

    Who writes to one goes on: it was opened to append. A kill leaves the same lines in two files at worst, never none.
    """
    for path in sorted(folder.glob("*.log")):
        if path.stat().st_size > most:
            partial = folder / f".{path.name}.partial"
            with path.open("rb") as source, gzip.open(partial, "wb") as target:
                shutil.copyfileobj(source, target)
            partial.rename(folder / f"{path.stem}-{at:%Y%m%dT%H%M%S}.log.gz")
            os.truncate(path, 0)
    return files(folder, [path.name for path in folder.glob("*.log")], before)


def newest(folder: Path) -> list[str]:
    """Name of the entry changed last; none in an empty folder."""
    return [max(_entries(folder), key=lambda entry: entry[1])[0]] if any(_entries(folder)) else []


def put_away(state: LedgerState) -> set[str]:
    """Versions that cannot serve any more. What served before the champion may, by rollbacks, though it is archived."""
    return {v for v, now in state.stages.items() if now in NEVER_AGAIN} - set(state.predecessors)


def served_copies(folder: Path, away: Collection[str]) -> set[str]:
    """Copies of versions that may serve: everything but what the ledger has put away."""
    prefix = f"{MODEL_NAME}-"
    return {name for name, _ in _entries(folder) if name.removeprefix(prefix).rpartition("-")[0] not in away}


def archived_models(mlflow: MLflow, cursor: Cursor, before: datetime, at: datetime, step: Step = lambda: None) -> int:
    """Model files in MLflow of versions put away before the instant; the version, its run, figures and card stay.

    Raises MLflowUnavailable. Safe to repeat: a version is marked once its files are gone.
    """
    state = ledger.state(cursor)
    away = put_away(state)
    cursor.execute(
        "SELECT sequence FROM litgo.model_ledger WHERE sequence = ANY(%s) AND recorded_at < %s",
        ([state.since[version] for version in away], before),
    )
    old = {sequence for (sequence,) in cursor.fetchall()}
    due = sorted(version for version in away if state.since[version] in old)
    if not due:
        return 0
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    module, client, gone = mlflow.module(), mlflow.client(), 0
    shown = {str(v.version): v for v in client.search_model_versions(f"name = '{MODEL_NAME}'", max_results=10_000)}
    for version in due:
        if version not in shown or DELETED in shown[version].tags:
            continue
        run_id = str(shown[version].run_id)
        if run := known(module, partial(client.get_run, run_id)):  # else somebody deleted it, and `mlflow gc` its files
            of_run = get_artifact_repository(run.info.artifact_uri)
            for entry in of_run.list_artifacts("bundle"):
                if entry.path.rsplit("/", 1)[-1].startswith("model-"):
                    of_run.delete_artifacts(entry.path)
        if source := known(module, partial(client.get_model_version_download_uri, MODEL_NAME, version)):
            get_artifact_repository(source).delete_artifacts()
        client.set_model_version_tag(MODEL_NAME, version, DELETED, at.date().isoformat())
        gone += 1
        step()
    return gone


def _entries(folder: Path) -> Iterator[tuple[str, datetime]]:
    if folder.is_dir():
        for path in folder.iterdir():
            if not path.name.startswith("."):
                yield path.name, datetime.fromtimestamp(path.stat().st_mtime, UTC)
