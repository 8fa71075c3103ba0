"""Finished runs of Dagster jobs, each counted once, read from Dagster's own storage.

A run that a planned stop ended counts as canceled, which is in no error budget: it is run again after the start.

Not counted by a run-status sensor: that sees a few a tick and none while the daemon is down.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from litgo_pipelines.database import Cursor
from litgo_pipelines.jobs import JOBS
from litgo_pipelines.observability.metrics import OTHER_JOB, add, count, observe
from litgo_pipelines.observability.stops import ended_by_one

if TYPE_CHECKING:
    import dagster as dg
    from dagster import RunRecord

OVERLAP = timedelta(minutes=10)  # storage shows a run's end some time after it
PAGE = 1_000
# Dagster's word for a run whose process was asked to end, by a signal and not in its pages: by a service manager, a
# container's stop, `litgo up`. What is killed without being asked has another.
REASON, ASKED_TO_END = "dagster/failure_reason", "UNEXPECTED_TERMINATION"
NEWEST = "SELECT max(ended_at), now() FROM litgo.job_runs"


@dataclass(frozen=True)
class JobRun:
    run_id: str
    job_name: str
    status: str  # success | failure | canceled
    ended_at: datetime
    updated_at: datetime  # later where somebody touched it since
    seconds: float | None  # null: it never started


def ended_runs(instance: "dg.DagsterInstance", since: datetime, stops: Sequence[datetime] = ()) -> list[JobRun]:
    """Runs touched after the instant that ended, at most PAGE, those touched first first. `stops`: planned ones."""
    import dagster as dg

    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    records = instance.get_run_records(
        dg.RunsFilter(statuses=ended, updated_after=since), limit=PAGE, order_by="update_timestamp", ascending=True
    )
    return [_job_run(record, stops) for record in records]


def _job_run(record: "RunRecord", stops: Sequence[datetime]) -> JobRun:
    run, updated = record.dagster_run, record.update_timestamp.replace(tzinfo=UTC)
    ended_at = datetime.fromtimestamp(record.end_time, UTC) if record.end_time else updated
    seconds = record.end_time - record.start_time if record.end_time and record.start_time else None
    job = run.job_name if run.job_name in JOBS else OTHER_JOB
    status = run.status.value.lower()
    if status == "failure" and (
        run.tags.get(REASON) == ASKED_TO_END
        or ended_by_one(datetime.fromtimestamp(record.start_time, UTC) if record.start_time else None, ended_at, stops)
    ):
        status, seconds = "canceled", None
    return JobRun(run.run_id, job, status, ended_at, updated, seconds)


def newest(cursor: Cursor) -> datetime:
    """From when on runs may not be counted yet; not from the future, if a clock was ahead once."""
    cursor.execute(NEWEST)
    found, now = cursor.fetchone()
    return min(found, now) - OVERLAP if found else datetime(1970, 1, 1, tzinfo=UTC)


def count_new(
    instance: "dg.DagsterInstance",
    cursor: Callable[[], AbstractContextManager[Cursor]],
    stops: Sequence[datetime] = (),
) -> int:
    """Count all runs that ended since the last time, each page in a transaction of its own; returns how many."""
    with cursor() as opened:
        since = after = newest(opened)
    total = 0
    while True:
        runs = ended_runs(instance, after, stops)
        # one that ended before and was touched since, a tag maybe, was counted; its row may be gone by now
        if fresh := [run for run in runs if run.ended_at >= since]:
            with cursor() as opened:
                total += record(opened, fresh)
        if len(runs) < PAGE:
            return total
        after = runs[-1].updated_at


def record(cursor: Cursor, runs: Sequence[JobRun]) -> int:
    """Count runs that are not counted yet, in the caller's transaction; returns how many were new."""
    from psycopg2.extras import execute_values

    if not runs:
        return 0
    rows = [(run.run_id, run.job_name, run.status, run.ended_at) for run in runs]
    new = {
        run_id
        for (run_id,) in execute_values(
            cursor,
            "INSERT INTO litgo.job_runs (run_id, job_name, status, ended_at) VALUES %s ON CONFLICT DO NOTHING "
            "RETURNING run_id",
            rows,
            fetch=True,
        )
    }
    deltas = []
    for run in runs:
        if run.run_id in new:
            deltas.append(count("job_executions_total", job_name=run.job_name, status=run.status))
            if run.seconds is not None:
                deltas += observe("job_duration_seconds", run.seconds, job_name=run.job_name)
    add(cursor, deltas)
    return len(new)
