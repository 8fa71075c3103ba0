"""`/metrics` for Prometheus: metric state, gauges and Dagster's runs, from one long-running process.

A thread reads the database every few seconds; a scrape shows what was read last, with its age. So a scrape never waits
for the database, and however many scrape, the database is asked the same.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from litgo_pipelines.database import connect
from litgo_pipelines.observability import gauges, job_runs
from litgo_pipelines.observability.metrics import METRICS

log = logging.getLogger(__name__)

State = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]  # (row's name, sorted labels) → value


def read_state(cursor: Any) -> State:
    """All rows of the metric state."""
    cursor.execute("SELECT name, labels, value FROM litgo.metric_state")
    return {(name, tuple(sorted(labels.items()))): value for name, labels, value in cursor.fetchall()}


def counted_families(state: State) -> Iterator[Family]:
    """Every metric of METRICS as Prometheus wants it, zeros included: a series born at 1 has no increase."""
    for name, metric in METRICS.items():
        names = list(metric.labels)
        every = [tuple(zip(names, values, strict=True)) for values in product(*metric.labels.values())]
        if not metric.buckets:
            counter = CounterMetricFamily(name, metric.help, labels=names)
            for labels in every:
                counter.add_metric([value for _, value in labels], state.get((name, tuple(sorted(labels))), 0.0))
            yield counter
            continue
        histogram = HistogramMetricFamily(name, metric.help, labels=names)
        for labels in every:
            cumulated, buckets = 0.0, []
            for limit in (*(f"{bucket:g}" for bucket in metric.buckets), "+Inf"):
                cumulated += state.get((f"{name}_bucket", tuple(sorted((*labels, ("le", limit))))), 0.0)
                buckets.append((limit if limit == "+Inf" else str(float(limit)), cumulated))
            total = state.get((f"{name}_sum", tuple(sorted(labels))), 0.0)
            histogram.add_metric([value for _, value in labels], buckets, total)
        yield histogram


def gauge_families(samples: Mapping[str, list[gauges.Sample]]) -> Iterator[Family]:
    for name, values in samples.items():
        gauge = gauges.GAUGES[name]
        family = GaugeMetricFamily(name, gauge.help, labels=list(gauge.labels))
        for labels, value in values:
            family.add_metric(list(labels), value)
        yield family


@dataclass(eq=False)
class Exporter(Collector):
    """`refresh` once, or run `refresh_forever` in a thread; `collect` never touches the database.

    `instance`: where Dagster's runs and daemons are read, None without; `statement_seconds` bounds each statement.
    """

    database_url: str
    instance: Callable[[], Any] | None = None
    statement_seconds: float = 5.0
    over: threading.Event = field(default_factory=threading.Event)
    _families: list[Family] = field(default_factory=list)
    _read_at: float | None = None
    _up: dict[str, bool] = field(default_factory=lambda: {"database": False, "dagster": False})

    def refresh(self) -> None:
        """Read everything anew. What fails is logged and keeps its old values."""
        self._up["dagster"], heartbeats = self._dagster()
        try:
            with self._cursor() as cursor:
                families = [*counted_families(read_state(cursor)), *gauge_families(gauges.read(cursor))]
        except Exception as error:  # whatever it is, the last values stay and say how old they are
            log.warning(json.dumps({"event": "metrics_not_read", "error": f"{type(error).__name__}: {error}"}))
            self._up["database"] = False
            return
        self._families = [*families, heartbeats]
        self._read_at, self._up["database"] = time.monotonic(), True

    def _dagster(self) -> tuple[bool, Family]:
        """Counts runs that ended; heartbeats of the daemons, unix seconds."""
        family = GaugeMetricFamily(
            "dagster_daemon_heartbeat_timestamp_seconds", "Last heartbeat of a daemon.", labels=["daemon"]
        )
        if self.instance is None:
            return False, family
        try:
            instance = self.instance()
            for name, status in instance.get_daemon_statuses().items():
                if status.last_heartbeat is not None:
                    family.add_metric([name], status.last_heartbeat.timestamp)
            with self._cursor() as cursor:
                since = job_runs.newest(cursor)
            runs = job_runs.ended_runs(instance, since)
            with self._cursor() as cursor:
                job_runs.record(cursor, runs)
        except Exception as error:  # Dagster's storage being down is shown, not fatal
            log.warning(json.dumps({"event": "dagster_not_read", "error": f"{type(error).__name__}: {error}"}))
            return False, family
        return True, family

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        connection = connect(self.database_url, application_name="litgo-exporter", attempts=1)
        with connection as opened, opened.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, false)", (f"{self.statement_seconds}s",))
            yield cursor

    def refresh_forever(self, every_seconds: float) -> None:
        while not self.over.is_set():
            self.refresh()
            self.over.wait(every_seconds)

    @property
    def ready(self) -> bool:
        """Something was read at least once."""
        return self._read_at is not None

    def collect(self) -> Iterator[Family]:
        up = GaugeMetricFamily("litgo_source_up", "1: the last read of it went well.", labels=["source"])
        for source, answers in self._up.items():
            up.add_metric([source], float(answers))
        yield up
        if self._read_at is not None:
            age = GaugeMetricFamily("litgo_metrics_age_seconds", "Since the values shown here were read.")
            age.add_metric([], time.monotonic() - self._read_at)
            yield age
        yield from self._families


@contextmanager
def serving(exporter: Exporter, host: str, port: int, every_seconds: float) -> Iterator[int]:
    """The exporter on http://host:port (0: a free one, yielded): /metrics, /healthz (alive), /readyz (has figures)."""
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """A line a scrape tells nobody anything."""

    registry = CollectorRegistry()
    registry.register(exporter)
    metrics = make_wsgi_app(registry)

    def application(environ: dict[str, Any], start: Any) -> Any:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start)
        alive = reader.is_alive()
        good = {"/healthz": alive, "/readyz": alive and exporter.ready}.get(path)
        status = "404 Not Found" if good is None else "200 OK" if good else "503 Service Unavailable"
        start(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [status.encode()]

    reader = threading.Thread(target=exporter.refresh_forever, args=(every_seconds,), daemon=True, name="reader")
    with make_server(host, port, application, ThreadingWSGIServer, Quiet) as server:
        reader.start()
        thread = threading.Thread(target=server.serve_forever, daemon=True, name="http")
        thread.start()
        try:
            yield server.server_port
        finally:
            exporter.over.set()
            server.shutdown()
            thread.join()
