"""Runs of Dagster jobs, counted once each, out of Dagster's own storage.

Not counted by a run-status sensor: that sees a few a tick and none while the daemon is down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from litgo_pipelines.observability.metrics import JOBS, OTHER_JOB, add, count, observe

OVERLAP = timedelta(minutes=10)  # storage shows a run's end some time after it
PAGE = 1_000


@dataclass(frozen=True)
class JobRun:
    run_id: str
    job_name: str
    status: str  # success | failure | canceled
    ended_at: datetime
    seconds: float | None  # null: it never started


def ended_runs(instance: Any, since: datetime) -> list[JobRun]:
    """Runs that ended and were touched after the instant, at most PAGE, oldest first."""
    import dagster as dg

    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    records = instance.get_run_records(
        dg.RunsFilter(statuses=ended, updated_after=since), limit=PAGE, order_by="update_timestamp", ascending=True
    )
    return [_job_run(record) for record in records]


def _job_run(record: Any) -> JobRun:
    run, updated = record.dagster_run, record.update_timestamp
    ended_at = datetime.fromtimestamp(record.end_time, UTC) if record.end_time else updated.replace(tzinfo=UTC)
    seconds = record.end_time - record.start_time if record.end_time and record.start_time else None
    return JobRun(
        run.run_id, run.job_name if run.job_name in JOBS else OTHER_JOB, run.status.value.lower(), ended_at, seconds
    )


def newest(cursor: Any) -> datetime:
    """From when on runs may not be counted yet."""
    cursor.execute("SELECT max(ended_at) FROM litgo.job_runs")
    (found,) = cursor.fetchone()
    return found - OVERLAP if found else datetime(1970, 1, 1, tzinfo=UTC)


def record(cursor: Any, runs: Sequence[JobRun]) -> int:
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
