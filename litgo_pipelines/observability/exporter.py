"""`/metrics` for Prometheus: metric state, gauges and Dagster's runs, from one long-running process.

A thread for each source reads every few seconds; a scrape shows what was read last, with its age. So a scrape never
waits for a database, and however many scrape, the database is asked the same.
"""

import json
import logging
import platform
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import product
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from psycopg2.errors import QueryCanceled

from litgo_pipelines.database import Cursor, connect, error_kind
from litgo_pipelines.database.errors import error_line
from litgo_pipelines.database.watch import shut
from litgo_pipelines.observability import dagster_state, gauges, health, job_runs, stops
from litgo_pipelines.observability.deadline import after
from litgo_pipelines.observability.hosts import Hosts, is_address
from litgo_pipelines.observability.metrics import METRICS

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)
STALE = 120.0  # seconds: older values do not count as read
TICKS_EVERY = 30.0  # seconds; one query per schedule and sensor
EXPENSIVE_EVERY = 60.0  # seconds at least between two reads of the expensive gauges
CONNECTIONS = 16  # at once; Prometheus needs one
CONNECTION_SECONDS = 30.0  # of one, from its start to its end
HOSTS = "localhost,exporter"
EXPENSIVE = 4  # their statement timeout, as a multiple of the usual one

State = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]  # (row's name, sorted labels) → value
Samples = Mapping[str, list[gauges.Sample]]


def read_state(cursor: Cursor) -> State:
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


def gauge_families(samples: Samples) -> Iterator[Family]:
    for name, values in samples.items():
        gauge = gauges.GAUGES[name]
        family = GaugeMetricFamily(name, gauge.help, labels=list(gauge.labels))
        for labels, value in values:
            family.add_metric(list(labels), value)
        yield family


def own_families(home: Path | None) -> Iterator[Family]:
    """What needs no database: the build, the disk of LITGO_HOME, the jobs' limits."""
    build = {name: version(package) for name, package in (("version", "litgo-pipelines"), ("dagster", "dagster"))}
    info = GaugeMetricFamily("litgo_build_info", "Always 1.", labels=["version", "python", "dagster"])
    info.add_metric([build["version"], platform.python_version(), build["dagster"]], 1)
    yield info
    limits = GaugeMetricFamily(
        "job_freshness_limit_seconds", "A job is late when its last success is longer ago.", labels=["job_name"]
    )
    for job, seconds in health.FRESH.items():
        limits.add_metric([job], seconds)
    yield limits
    if home is not None and home.exists():
        disk = shutil.disk_usage(home)
        yield GaugeMetricFamily("disk_free_bytes", "Free on the disk of LITGO_HOME.", disk.free)
        yield GaugeMetricFamily("disk_size_bytes", "Size of the disk of LITGO_HOME.", disk.total)


@dataclass
class Source:
    """What was read last from one place. `read` gives metrics, or raises; the old ones stay then."""

    read: Callable[[], list[Family]]
    families: list[Family] = field(default_factory=list)
    read_at: float | None = None
    fine: bool = False

    def refresh(self, name: str) -> None:
        try:
            self.families = self.read()
        except Exception as error:  # whatever it is, the last values stay and say how old they are
            log.warning(json.dumps({"event": f"{name}_not_read", "error": error_line(error)}))
            self.fine = False
            return
        self.read_at, self.fine = time.monotonic(), True

    @property
    def age(self) -> float:
        return inf if self.read_at is None else time.monotonic() - self.read_at

    def up(self) -> bool:
        """The last read went well and is not long ago: one that hangs is no better than one that fails."""
        return self.fine and self.age < STALE


@dataclass(eq=False)
class Exporter(Collector):
    """`refresh` once, or `refresh_forever` in threads, one a source; `collect` never touches a database.

    `instance`: where Dagster's runs and daemons are read, None without; `home`: LITGO_HOME. `statement_seconds` bounds
    each statement, `refresh_seconds` everything read from one source, also when its server vanishes. `counts_runs`: not
    for one who only looks. The expensive gauges are a source of their own, `statistics`: that they take too long says
    nothing of the database.
    """

    database_url: str
    instance: Callable[[], Any] | None = None
    home: Path | None = None
    statement_seconds: float = 5.0
    refresh_seconds: float = 60.0
    counts_runs: bool = True
    over: threading.Event = field(default_factory=threading.Event)
    sources: dict[str, Source] = field(init=False)
    _cheap: Samples = field(default_factory=dict)
    _expensive: dict[str, list[gauges.Sample]] = field(default_factory=dict)
    _unread: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(gauges.GAUGES, False))
    _read: dict[str, float] = field(default_factory=dict)  # gauge → when
    _heartbeats: dict[str, float] = field(default_factory=dict)
    _queued_since: float | None = None
    _ticks: tuple[float, list[Family]] = (-inf, [])
    _started: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.sources = {
            "database": Source(self._database),
            "statistics": Source(self._statistics),
            "dagster": Source(self._dagster),
        }

    def refresh(self) -> None:
        """Read everything anew. What fails is logged and keeps its old values."""
        for name, source in reversed(self.sources.items()):  # runs that ended are counted first
            source.refresh(name)

    def _database(self) -> list[Family]:
        with self._cursor() as cursor:
            state = read_state(cursor)
            self._cheap, failed = gauges.read_each(
                cursor, [name for name, gauge in gauges.GAUGES.items() if not gauge.every]
            )
        for name in [*self._cheap, *failed]:
            self._unread[name] = name in failed
        for name, why in failed.items():
            log.warning(json.dumps({"event": "gauge_not_read", "gauge": name, "error": why}))
        return [*counted_families(state), *gauge_families(self._cheap)]

    def _statistics(self) -> list[Family]:
        now = time.monotonic()
        due = [n for n, gauge in gauges.GAUGES.items() if gauge.every and now >= self._read.get(n, -inf) + gauge.every]
        late: list[str] = []
        failed: list[str] = []
        for name in due:  # a transaction each: an old one would keep vacuum from its work
            try:
                with self._cursor(EXPENSIVE) as cursor:
                    self._expensive = self._expensive | gauges.read(cursor, [name])
            except QueryCanceled:
                late.append(name)
            except psycopg2.Error as error:  # one that cannot be read leaves the others alone
                failed.append(f"{name} ({error_kind(error)})")
            else:
                self._read[name] = now
            self._unread[name] = name in late or any(one.startswith(f"{name} ") for one in failed)
        if late:
            raise TimeoutError(f"not read within {EXPENSIVE * self.statement_seconds:g} s: {', '.join(late)}")
        if failed:
            raise LookupError(f"not read: {', '.join(failed)}")
        return []  # `collect` shows what there is

    def _dagster(self) -> list[Family]:
        """Daemons, runs and ticks; runs that ended are counted."""
        if self.instance is None:
            raise LookupError("no DAGSTER_HOME")
        with dagster_state.bounded(self.refresh_seconds, self.statement_seconds):
            instance = self.instance()
            if self.counts_runs:
                job_runs.count_new(instance, self._cursor, stops.read(self.home))
            self._heartbeats = dagster_state.heartbeats(instance)
            self._queued_since, families = dagster_state.runs(instance)
            read_at, ticks = self._ticks
            if time.monotonic() - read_at >= TICKS_EVERY:
                self._ticks = time.monotonic(), (ticks := dagster_state.ticks(instance, time.time()))
        return [dagster_state.heartbeat_family(self._heartbeats), *families, *ticks]

    @contextmanager
    def _cursor(self, times: int = 1) -> Iterator[Cursor]:
        with (
            connect(self.database_url, application_name="litgo-exporter", attempts=1) as opened,
            after(self.refresh_seconds, partial(shut, opened)),
            opened.cursor() as cursor,
        ):
            limit = f"{times * self.statement_seconds * 1000:.0f}"
            cursor.execute("SELECT set_config('statement_timeout', %s, false)", (limit,))
            yield cursor

    def refresh_forever(self, name: str, every_seconds: float) -> None:
        while not self.over.is_set():
            self.sources[name].refresh(name)
            self.over.wait(every_seconds)

    @property
    def ready(self) -> bool:
        """Something was read at least once."""
        return self.sources["database"].read_at is not None

    @property
    def fresh(self) -> bool:
        """What is shown is no older than STALE."""
        return self.sources["database"].age < STALE

    def collect(self) -> Iterator[Family]:
        up = GaugeMetricFamily("litgo_source_up", "1: the last read of it went well.", labels=["source"])
        for name, source in self.sources.items():
            up.add_metric([name], float(source.up()))
        yield up
        database = self.sources["database"]
        yield GaugeMetricFamily("database_up", "1: the database was read a moment ago.", float(database.up()))
        if self.ready:
            yield GaugeMetricFamily("litgo_metrics_age_seconds", "Since the values shown here were read.", database.age)
        unread = GaugeMetricFamily(
            "litgo_figure_unread", "1: a gauge that could not be read; others are not held up.", labels=["gauge"]
        )
        for name, wrong in self._unread.items():
            unread.add_metric([name], float(wrong))
        yield unread
        yield from self._health()
        yield from own_families(self.home)
        for source in self.sources.values():
            yield from source.families
        yield from gauge_families(self._expensive)

    def _health(self) -> Iterator[Family]:
        now = time.time()
        last = {job: at for (job,), at in self._cheap.get("job_last_success_timestamp_seconds", [])}
        since_read = 0.0 if not self.ready else self.sources["database"].age
        queues = {
            name: value + (since_read if value else 0)
            for name in health.QUEUES
            for _, value in self._cheap.get(name, [])
        }
        queued = 0.0 if self._queued_since is None else now - self._queued_since
        seen = health.Seen(
            self.sources["database"].up(),
            {name: now - at for name, at in self._heartbeats.items()},
            # one that never succeeded is waited for since this process began
            {job: now - last.get(job, self._started) for job in health.FRESH},
            {**queues, "dagster_oldest_queued_run_age_seconds": queued},
            {service: value for (service,), value in self._cheap.get("circuit_breaker_state", [])},
            any(alias == "champion" for (alias, _), _ in self._cheap.get("model_version_info", [])),
            not any(value for _, value in self._cheap.get("database_read_only", [])),
        )
        found = health.parts(seen)
        parts = GaugeMetricFamily("system_health_part", "A part of system_health_score, 0 to 1.", labels=["part"])
        for part, value in found.items():
            parts.add_metric([part], value)
        yield parts
        yield GaugeMetricFamily(
            "system_health_score", "How well the system is, 0 to 1: docs/metrics.md.", health.score(found)
        )


class BoundedServer(ThreadingWSGIServer):
    """At most CONNECTIONS at once, each shut when its time is over, whatever it sends or does not."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(*arguments, **named)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        over = threading.Timer(CONNECTION_SECONDS, shut_socket, [request])
        over.daemon = True
        over.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            over.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever left in the middle is no news."""


def shut_socket(request: socket.socket) -> None:
    with suppress(OSError):  # it is over already
        request.shutdown(socket.SHUT_RDWR)


def with_head(application: "WSGIApplication") -> "WSGIApplication":
    """The application, which answers HEAD with the status and headers of GET, and with no body."""

    def answer(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "HEAD":
            return application(environ, start)
        said: list[tuple[str, list[tuple[str, str]]]] = []

        def note(status: str, headers: list[tuple[str, str]], error: object = None) -> Callable[[bytes], object]:
            said.append((status, headers))
            return len

        size = sum(map(len, application({**environ, "REQUEST_METHOD": "GET"}, note)))
        status, headers = said[-1]
        start(status, [*headers, ("Content-Length", str(size))])
        return []

    return answer


@contextmanager
def serving(
    exporter: Exporter, host: str, port: int, every_seconds: float, allowed_hosts: str = HOSTS
) -> Iterator[int]:
    """The exporter on http://host:port (0: a free one, yielded): /metrics, /healthz (alive), /readyz (fresh).

    allowed_hosts: names by which it may be asked; addresses always.
    """
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    names = Hosts.read(allowed_hosts, setting="EXPORTER_ALLOWED_HOSTS")

    class Quiet(WSGIRequestHandler):
        timeout = CONNECTION_SECONDS / 2  # without a byte

        def log_message(self, format: str, *args: object) -> None:
            """One log line per scrape would be noise."""

    registry = CollectorRegistry()
    registry.register(exporter)
    ProcessCollector(registry=registry)
    metrics = make_wsgi_app(registry)

    def application(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        path, asked = environ["PATH_INFO"], environ.get("HTTP_HOST", "")
        if not (names.allow(asked) or is_address(asked)):
            start("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"this Host is not in EXPORTER_ALLOWED_HOSTS"]
        if path == "/metrics":
            environ["QUERY_STRING"] = ""  # everything: asked for by name[], what is made at the scrape would be nothing
            return metrics(environ, start)
        good = {"/healthz": alive(), "/readyz": alive() and exporter.fresh}.get(path)
        status = "404 Not Found" if good is None else "200 OK" if good else "503 Service Unavailable"
        start(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [status.encode()]

    readers = [
        threading.Thread(target=exporter.refresh_forever, args=(name, every), daemon=True, name=name)
        for name in exporter.sources
        for every in [max(every_seconds, EXPENSIVE_EVERY) if name == "statistics" else every_seconds]
    ]

    def alive() -> bool:
        return all(reader.is_alive() for reader in readers)

    with make_server(host, port, with_head(application), BoundedServer, Quiet) as server:
        for reader in readers:
            reader.start()
        thread = threading.Thread(target=server.serve_forever, daemon=True, name="http")
        thread.start()
        try:
            yield server.server_port
        finally:
            exporter.over.set()
            server.shutdown()
            thread.join()
