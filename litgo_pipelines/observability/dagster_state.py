"""Daemons, runs and ticks as metrics, read from Dagster's storage. Finished runs are counted in `job_runs`."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import ref

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from sqlalchemy import event
from sqlalchemy.engine import Dialect, Engine

from litgo_pipelines.database.watch import shut
from litgo_pipelines.observability.deadline import after

if TYPE_CHECKING:
    import dagster as dg

HOUR = 3600.0
CONNECT_SECONDS = 10


@contextmanager
def bounded(seconds: float, statement_seconds: float) -> Iterator[None]:
    """Whatever this thread asks of a storage in Postgres inside ends after so long, and CONNECT_SECONDS at most.

    Dagster's storages open a connection a question and set no limit on it; raises TimeoutError or what SQLAlchemy does.
    """
    mine, opened, over = threading.get_ident(), [], threading.Event()

    def connect(dialect: Dialect, record: object, arguments: Any, options: dict[str, Any]) -> Any:
        if threading.get_ident() != mine or dialect.name != "postgresql":
            return None  # SQLAlchemy connects as always
        if over.is_set():
            raise TimeoutError(f"Dagster's storage was not read in {seconds:g} s")
        limits = {"connect_timeout": CONNECT_SECONDS, "options": f"-c statement_timeout={statement_seconds * 1000:.0f}"}
        connection = dialect.connect(*arguments, **(limits | options))
        opened.append(ref(connection))
        return connection

    def end() -> None:
        over.set()
        for connection in [found() for found in opened]:
            shut(connection)

    event.listen(Engine, "do_connect", connect)
    try:
        with after(seconds, end):
            yield
    finally:
        event.remove(Engine, "do_connect", connect)


def heartbeats(instance: "dg.DagsterInstance") -> dict[str, float]:
    """Daemon → last heartbeat, unix seconds."""
    found = instance.get_daemon_statuses().items()
    return {name: status.last_heartbeat.timestamp for name, status in found if status.last_heartbeat is not None}


def heartbeat_family(found: Mapping[str, float]) -> Family:
    family = GaugeMetricFamily(
        "dagster_daemon_heartbeat_timestamp_seconds", "Last heartbeat of a daemon.", labels=["daemon"]
    )
    for name, at in found.items():
        family.add_metric([name], at)
    return family


def runs(instance: "dg.DagsterInstance") -> tuple[float | None, list[Family]]:
    """(since when the oldest queued run waits, unix seconds or None; runs under way)."""
    import dagster as dg

    states = {
        "queued": [dg.DagsterRunStatus.QUEUED],
        "started": [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED],
    }
    family = GaugeMetricFamily("dagster_runs", "Runs that wait, and that run.", labels=["status"])
    for name, statuses in states.items():
        family.add_metric([name], instance.get_runs_count(dg.RunsFilter(statuses=statuses)))
    oldest = instance.get_run_records(dg.RunsFilter(statuses=states["queued"]), limit=1, ascending=True)
    since = oldest[0].create_timestamp.timestamp() if oldest else None
    age = GaugeMetricFamily(
        "dagster_oldest_queued_run_age_seconds",
        "How long the oldest queued run waits; 0 without one.",
        0 if since is None else max(0.0, time.time() - since),
    )
    return since, [family, age]


def ticks(instance: "dg.DagsterInstance", now: float) -> list[Family]:
    """Of every schedule and sensor: its newest tick, and how many failed in the hour before `now` (unix seconds)."""
    from litgo_pipelines.dagster_internals import TickStatus

    newest = GaugeMetricFamily("dagster_last_tick_timestamp_seconds", "Newest tick.", labels=["name"])
    failed = GaugeMetricFamily("dagster_tick_failures", "Ticks of the last hour that failed.", labels=["name"])
    for state in instance.all_instigator_state():
        which = state.instigator_origin_id, state.selector_id
        last = instance.get_ticks(*which, limit=1)
        if not last:
            continue
        newest.add_metric([state.name], last[0].timestamp)
        failures = instance.get_ticks(*which, after=now - HOUR, statuses=[TickStatus.FAILURE], limit=100)
        failed.add_metric([state.name], len(failures))
    return [newest, failed]
