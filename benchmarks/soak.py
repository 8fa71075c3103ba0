"""Soak run: everything started as an operator would, one case per second, faults injected, and an audit of losses.

    python -m benchmarks.soak [--minutes 20] [--cases-per-second 1] [--kill-every 120]

`litgo demo` fills a fresh LITGO_HOME with a simulated marketplace, `litgo up` runs it, `simulation/live.py` lets
clients and lawyers act on the real clock, the vendors are stand-ins on loopback (`soak_vendors`), and Prometheus and
Alertmanager watch with the deployed rules where they are installed. Processes are killed with SIGKILL, one at a time.
Then the load stops, the queues drain, and `soak_audit` takes stock. The figures go to docs/soak.md (`soak_page`).
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import psutil
import psycopg2

from benchmarks import PROJECT, soak_audit, soak_page, soak_vendors
from litgo_pipelines.database import DatabaseUnavailable, connect, open_connection
from litgo_pipelines.observability import unattended
from litgo_pipelines.runtime.supervisor import HOST
from litgo_pipelines.settings import Settings

LITGO = [sys.executable, "-m", "litgo_pipelines.cli"]
MARKETPLACE = ["--lawyers", "1000", "--cases", "5000", "--days", "60"]
SETTINGS = {  # of a short run of a small marketplace; everything else is as it comes
    "LEARNING_TRAIN_SEEDS": "2",
    "GATE_MIN_QUERIES": "50",
    "NOTIFICATION_COOLDOWN_MINUTES": "1",
}
FEED_SECONDS, SAMPLE_SECONDS, SETTLES_SECONDS = 2, 5, 900
SERVICES = ("webserver", "daemon", "exporter", "MLflow")
ROLES = ("daemon", "code server", "warm process", "run worker", "webserver", "exporter", "MLflow", "Postgres")
DAEMONS = ("SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR", "MONITORING")
# Half of the clients do not say which area their case is of: those need triage.
SETUP = """
import json, os
from litgo_pipelines.database import open_connection
connection = open_connection(os.environ["LITGO_DATABASE_URL"])
connection.autocommit = True
with connection.cursor() as cursor:
    cursor.execute("ALTER SYSTEM SET track_commit_timestamp = on")
    cursor.execute('''
CREATE FUNCTION litgo.soak_unlabelled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.area = NULL; NEW.subarea = NULL; NEW.urgency_h = NULL; NEW.complexity = NULL; RETURN NEW;
END $$;
CREATE TRIGGER soak_unlabelled BEFORE INSERT ON public.cases FOR EACH ROW
    WHEN (get_byte(decode(md5(NEW.id::text), 'hex'), 0) < 128) EXECUTE FUNCTION litgo.soak_unlabelled();
''')
print(json.dumps({n: os.environ[n] for n in ("LITGO_DATABASE_URL", "DAGSTER_DATABASE_URL")}))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def get(url: str, seconds: float = 5) -> bytes | None:
    """The body of a good answer; None without one."""
    try:
        with urlopen(url, timeout=seconds) as answer:
            return answer.read()
    except (URLError, OSError, ValueError):
        return None


def wait_for(what: str, found: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.5)
    return value


def role(command: list[str], parent: str | None) -> str | None:
    """What a process of the project is; None for helpers nobody asks about. `parent`: its parent's role."""
    text = " ".join(command)
    if "resource_tracker" in text or "watch_orphans" in text or text.startswith("tail "):
        return None
    if "multiprocessing.forkserver" in text:  # a forked process keeps the command of what it was forked from
        return {"code server": "warm process", "warm process": "run worker"}.get(parent or "", parent)
    if "multiprocessing.spawn" in text:
        return "step" if parent == "run worker" else parent
    if text.startswith("postgres:"):
        return "Postgres session"
    for mark, name in (
        ("/postgres -D", "Postgres"),
        ("runtime.webserver", "webserver"),
        ("litgo_pipelines.runtime.daemon", "daemon"),
        ("litgo_pipelines.runtime.code_server", "code server"),
        ("litgo_pipelines.cli exporter", "exporter"),
        ("litgo_pipelines.cli up", "supervisor"),
        ("litgo_pipelines.cli demo", "demo"),
        ("mlflow", "MLflow"),
    ):
        if mark in text:
            return name
    return parent


@dataclass
class Processes:
    """The processes that live under one LITGO_HOME."""

    home: Path
    known: dict[tuple[int, float], str | None] = field(default_factory=dict)

    def look(self) -> dict[int, tuple[str, psutil.Process]]:
        """pid → (role, process) as it is now."""
        found: dict[int, tuple[str, psutil.Process]] = {}
        for process in sorted(psutil.process_iter(["create_time"]), key=lambda p: p.info["create_time"]):
            try:
                name = self._role(process, process.info["create_time"])
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            if name:
                found[process.pid] = name, process
        return found

    def _role(self, process: psutil.Process, born: float) -> str | None:
        key = process.pid, born
        if key not in self.known:
            parent = process.ppid()
            over = next((name for (pid, _), name in reversed(self.known.items()) if pid == parent and name), None)
            command = process.cmdline()
            mine = process.pid != os.getpid() and (
                over in ("Postgres", "Postgres session")
                or process.environ().get("LITGO_HOME") == str(self.home)
                or str(self.home / "postgres") in command  # it is told by its folder, and has few variables
            )
            if time.time() - born < 1:
                return None  # it may not have become what it will be
            self.known[key] = role(command, over) if mine else None
        return self.known[key]

    def top(self, name: str) -> psutil.Process | None:
        """The service's own process: the child of the supervisor."""
        living = self.look()
        parents = {"warm process": "code server", "Postgres": None}
        above = parents.get(name, "supervisor")
        for found, process in reversed(living.values()):
            with suppress(psutil.NoSuchProcess):
                if found == name and (above is None or living.get(process.ppid(), ("",))[0] == above):
                    return process
        return None


@dataclass
class Kill:
    """`seconds`: until it worked again, None: not until the end; `what`: which run, where one was hit."""

    role: str
    at: datetime
    pid: int
    what: str = ""
    seconds: float | None = None


@dataclass
class Stage:
    """Where the pieces are: ports, database URLs, the environment of `litgo`."""

    home: Path
    environment: dict[str, str]
    ports: dict[str, int]
    urls: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def cursor(self, name: str = "LITGO_DATABASE_URL") -> Iterator[Any]:
        with connect(self.urls[name], application_name="litgo-soak", attempts=1) as opened, opened.cursor() as cursor:
            yield cursor

    def ask(self, query: str, *parameters: Any, name: str = "LITGO_DATABASE_URL") -> list[tuple]:
        with self.cursor(name) as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchall()

    def dagster(self, query: str, *parameters: Any) -> list[tuple]:
        return self.ask(query, *parameters, name="DAGSTER_DATABASE_URL")


def naive(at: datetime) -> datetime:
    """As Dagster's tables have it: UTC without saying so."""
    return at.astimezone(UTC).replace(tzinfo=None)


class Feed(threading.Thread):
    """Lets the marketplace live up to the present, every FEED_SECONDS; a step that fails is made again."""

    def __init__(self, stage: Stage, world: Any, cases_per_second: float) -> None:
        super().__init__(name="feed", daemon=True)
        self.stage, self.world, self.rate = stage, world, cases_per_second
        self.began = self.until = datetime.now(UTC).replace(microsecond=0)
        self.over = threading.Event()
        self.lived: Counter[str] = Counter()
        self.repeated, self.slowest = 0, 0.0
        self.failure: BaseException | None = None

    def run(self) -> None:
        from litgo_pipelines.simulation import live

        connection, start = None, self.world.end
        try:
            while not self.over.is_set():
                if start < self.began:  # what lawyers and clients did since the history ended; nobody new came
                    stop, demand = self.began, 0.0
                else:
                    stop = min(datetime.now(UTC).replace(microsecond=0), hour_after(start))
                    demand = demand_for(self.world, start, self.rate)
                began = time.monotonic()
                try:
                    if stop > start:
                        connection = connection or open_connection(self.stage.urls["LITGO_DATABASE_URL"])
                        self.lived.update(live.step(connection, self.world, start, stop, demand=demand))
                        start = self.until = stop
                except (psycopg2.Error, DatabaseUnavailable):  # Postgres was killed: the same step again
                    self.repeated += 1
                    if connection is not None:
                        connection.close()
                    connection = None
                took = time.monotonic() - began
                self.slowest = max(self.slowest, took)
                self.over.wait(max(0.2, FEED_SECONDS - took))
        except BaseException as error:
            self.failure = error
            raise
        finally:
            if connection is not None:
                connection.close()


def hour_after(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def demand_for(world: Any, at: datetime, cases_per_second: float) -> float:
    """The multiple of the loaded window's demand that gives so many cases in the hour of `at`."""
    from zoneinfo import ZoneInfo

    from litgo_pipelines.simulation import truth

    local = at.astimezone(ZoneInfo("America/Sao_Paulo"))
    busy = truth.WEEKDAY[local.weekday()] / truth.WEEKDAY.mean() * truth.HOURLY[local.hour] / truth.HOURLY.mean()
    return float(cases_per_second * 3600 * 24 * world.days / (busy * world.cases))


class Sampler(threading.Thread):
    """Memory of every process, and the counters as /metrics shows them, every few seconds."""

    def __init__(self, stage: Stage, processes: Processes) -> None:
        super().__init__(name="sampler", daemon=True)
        self.stage, self.processes = stage, processes
        self.over = threading.Event()
        self.memory: dict[str, dict[int, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
        self.counters: dict[str, float] = {}
        self.back: list[str] = []
        self.fallbacks: list[tuple[float, dict[str, float]]] = []
        self.scrapes = self.missed = 0
        self.busy: list[float] = []
        self.unseen = dict.fromkeys(unattended.KINDS, 0)  # the most that a scrape showed

    def run(self) -> None:
        while not self.over.wait(SAMPLE_SECONDS):
            now = time.monotonic()
            for pid, (name, process) in self.processes.look().items():
                try:
                    self.memory[name][pid].append((now, float(process.memory_info().rss)))
                except psutil.NoSuchProcess:
                    continue
            self.busy.append(os.getloadavg()[0])
            self._scrape(now)

    def _scrape(self, now: float) -> None:
        self.scrapes += 1
        families = scraped(self.stage)
        found, used = {}, Counter[str]()
        for family in families:
            ours = family.type in ("counter", "histogram") and not family.name.startswith("process_")  # the exporter's
            for sample in family.samples if ours else ():
                found[f"{sample.name}{json.dumps(sample.labels, sort_keys=True)}"] = sample.value
                if sample.name == "fallback_usage_total":
                    used[sample.labels["service"]] += int(sample.value)
        for kind, number in unseen(families).items():
            self.unseen[kind] = max(self.unseen[kind], number)
        self.missed += self.counters.keys() > found.keys()  # no exporter, or one that has not read everything yet
        self.back += soak_audit.went_back(self.counters, found)
        self.counters |= found
        if used:
            self.fallbacks.append((now, dict(used)))


def scraped(stage: Stage) -> list[Any]:
    """The exporter's metric families; none when it does not answer."""
    from prometheus_client.parser import text_string_to_metric_families

    body = get(f"http://{HOST}:{stage.ports['EXPORTER_PORT']}/metrics")
    return list(text_string_to_metric_families(body.decode())) if body else []


def unseen(families: Sequence[Any]) -> dict[str, int]:
    """Kind → how many wait unseen."""
    samples = [sample for family in families if family.name == "unattended" for sample in family.samples]
    return {sample.labels["kind"]: int(sample.value) for sample in samples}


def settled(stage: Stage) -> bool:
    """What the demo's marketplace brought along, which nobody had worked for weeks, has been attended to."""
    found = unseen(scraped(stage))
    return bool(found) and not any(found.values())


class Killer(threading.Thread):
    """Every so often one process is no more; how long until what it did is done again. Each role once, then anew."""

    def __init__(self, stage: Stage, processes: Processes, every: float, seed: int) -> None:
        super().__init__(name="killer", daemon=True)
        self.stage, self.processes, self.every = stage, processes, every
        self.rng, self.over = random.Random(seed), threading.Event()
        self.kills: list[Kill] = []
        self.watchers: list[threading.Thread] = []

    def run(self) -> None:
        turn: list[str] = []
        while not self.over.wait(self.every * self.rng.uniform(0.8, 1.2)):
            if not turn:
                turn = self.rng.sample(ROLES, len(ROLES))
            self.kill(turn.pop())

    def kill(self, name: str) -> None:
        victim = self._run_worker() if name == "run worker" else self.processes.top(name)
        if victim is None:
            self.kills.append(Kill(name, datetime.now(UTC), 0, "none was there"))
            return
        done = Kill(name, datetime.now(UTC), victim.pid, self._job(victim.pid) if name == "run worker" else "")
        victim.send_signal(signal.SIGKILL)
        self.kills.append(done)
        watcher = threading.Thread(target=self._watch, args=(done,), daemon=True)
        watcher.start()
        self.watchers.append(watcher)

    def _run_worker(self) -> psutil.Process | None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not self.over.is_set():
            if found := [process for name, process in self.processes.look().values() if name == "run worker"]:
                return self.rng.choice(found)
            time.sleep(0.2)
        return None

    def _job(self, pid: int) -> str:
        try:
            found = self.stage.dagster(
                "SELECT r.pipeline_name FROM public.runs r JOIN public.event_logs e USING (run_id) "
                "WHERE r.status IN ('STARTED', 'STARTING') AND e.event LIKE %s LIMIT 1",
                f"%(pid: {pid})%",
            )
        except (psycopg2.Error, DatabaseUnavailable):
            found = []
        return found[0][0] if found else ""

    def _watch(self, kill: Kill) -> None:
        while not kill.seconds:
            try:
                back = self.recovered(kill)
            except (psycopg2.Error, DatabaseUnavailable):
                back = False
            if back:
                kill.seconds = (datetime.now(UTC) - kill.at).total_seconds()
            elif self.over.wait(0.5) and (datetime.now(UTC) - kill.at) > timedelta(minutes=30):
                return
            elif self.over.is_set():
                time.sleep(0.5)

    def recovered(self, kill: Kill) -> bool:
        """What the process did is done again, by another one."""
        ports, at = self.stage.ports, naive(kill.at)
        if kill.role == "daemon":
            ((beats,),) = self.stage.dagster(
                "SELECT count(*) FROM public.daemon_heartbeats WHERE timestamp > %s AND daemon_type = ANY(%s)",
                at,
                list(DAEMONS),
            )
            return beats == len(DAEMONS)
        if kill.role == "code server":
            ((ticks,),) = self.stage.dagster(
                "SELECT count(*) FROM public.job_ticks WHERE timestamp > %s AND status IN ('SUCCESS', 'SKIPPED') "
                "AND tick_body::jsonb ->> 'job_name' = 'pending_cases_sensor'",
                at,
            )
            return ticks > 0
        if kill.role in ("run worker", "warm process"):
            ((runs,),) = self.stage.dagster(
                "SELECT count(*) FROM public.runs WHERE status = 'SUCCESS' AND start_time > %s "
                "AND (%s = '' OR pipeline_name = %s)",
                kill.at.timestamp(),
                kill.what,
                kill.what,
            )
            return runs > 0
        process = self.processes.top(kill.role)
        if process is None or process.pid == kill.pid:
            return False
        if kill.role == "Postgres":
            return self.stage.ask("SELECT 1") == [(1,)]
        path = {"webserver": "DAGSTER_PORT", "exporter": "EXPORTER_PORT", "MLflow": "MLFLOW_PORT"}[kill.role]
        page = {"webserver": "server_info", "exporter": "readyz", "MLflow": "health"}[kill.role]
        return get(f"http://{HOST}:{ports[path]}/{page}", 2) is not None


@dataclass(frozen=True)
class Told:
    """One alert in a message to a receiver."""

    at: datetime
    receiver: str
    alert: str
    status: str  # firing or resolved
    began: datetime
    service: str  # that it is about; empty: none


class Hook(BaseHTTPRequestHandler):
    """What Alertmanager tells."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        told: list[Told] = self.server.told  # type: ignore[attr-defined]
        for alert in body["alerts"]:
            began, labels = datetime.fromisoformat(alert["startsAt"]), alert["labels"]
            name, service = labels["alertname"], labels.get("service", "")
            told.append(Told(datetime.now(UTC), body["receiver"], name, alert["status"], began, service))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """One log line per request would be noise."""


@dataclass
class Watch:
    """Prometheus and Alertmanager with the deployed rules and routes, on this machine's ports."""

    url: str
    told: list[Told]

    def fired(self, since: datetime, until: datetime) -> dict[str, float]:
        """Alert → seconds it fired."""
        query = {
            "query": 'ALERTS{alertstate="firing"}',
            "start": since.timestamp(),
            "end": until.timestamp(),
            "step": 15,
        }
        body = get(f"{self.url}/api/v1/query_range?{urlencode(query)}", 30)
        if body is None:
            raise RuntimeError("Prometheus does not answer")
        seconds: Counter[str] = Counter()
        for series in json.loads(body)["data"]["result"]:
            seconds[series["metric"]["alertname"]] += 15 * len(series["values"])
        return dict(seconds)


@contextmanager
def watching(folder: Path, exporter: int) -> Iterator[Watch | None]:
    """None where the two programs are not installed."""
    programs = [shutil.which(name) for name in ("prometheus", "prometheus-alertmanager")]
    if not all(programs):
        yield None
        return
    import yaml

    folder.mkdir()
    prometheus, alertmanager = free_port(), free_port()
    deploy = PROJECT / "deploy"
    hook = ThreadingHTTPServer((HOST, 0), Hook)
    hook.told = []  # type: ignore[attr-defined]
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    for name in ("alerts.yml", "recording.yml"):
        shutil.copy(deploy / "prometheus" / name, folder)
    config = yaml.safe_load((deploy / "prometheus" / "prometheus.yml").read_text())
    ports = {"exporter:9108": exporter, "alertmanager:9093": alertmanager, "localhost:9090": prometheus}
    for part in (*config["scrape_configs"], *config["alerting"]["alertmanagers"]):
        for static in part["static_configs"]:
            static["targets"] = [f"{HOST}:{ports[target]}" for target in static["targets"]]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    routes = yaml.safe_load((deploy / "alertmanager" / "alertmanager.yml").read_text())
    routes["global"] = {"resolve_timeout": "5m"}
    routes.pop("templates")
    url = f"http://{HOST}:{hook.server_address[1]}/"
    routes["receivers"] = [{"name": r["name"], "webhook_configs": [{"url": url}]} for r in routes["receivers"]]
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(routes))
    commands = [
        [
            "prometheus-alertmanager",
            "--config.file=alertmanager.yml",
            "--storage.path=am",
            f"--web.listen-address={HOST}:{alertmanager}",
            "--cluster.listen-address=",
        ],
        [
            "prometheus",
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            f"--web.listen-address={HOST}:{prometheus}",
            "--enable-feature=expand-external-labels",
        ],
    ]
    environment = {"PATH": os.environ["PATH"], "TZ": "America/Sao_Paulo", "RUNBOOKS_URL": ""}
    started = []
    try:
        for command in commands:
            with (folder / f"{command[0]}.log").open("wb") as log:
                started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder))
        wait_for("Prometheus", lambda: get(f"http://{HOST}:{prometheus}/-/ready"), 60)
        yield Watch(f"http://{HOST}:{prometheus}", hook.told)  # type: ignore[attr-defined]
    finally:
        for process in started:
            process.terminate()
            process.wait(timeout=20)
        hook.shutdown()
        hook.server_close()


def prepare(home: Path, vendors: soak_vendors.Vendors, marketplace: Sequence[str] = MARKETPLACE) -> Stage:
    """A LITGO_HOME with a simulated marketplace that has lived through `litgo demo`; nothing runs yet."""
    settings = {name.upper() for name in Settings.model_fields}
    ports = {name: free_port() for name in ("DAGSTER_PORT", "MLFLOW_PORT", "EXPORTER_PORT")}
    environment = {
        **{name: value for name, value in os.environ.items() if name not in settings},
        **vendors.settings,
        **SETTINGS,
        **{name: str(port) for name, port in ports.items()},
        "LITGO_HOME": str(home),
    }
    stage = Stage(home, environment, ports)
    with (home / "demo.txt").open("w") as output:
        subprocess.run(
            [*LITGO, "demo", *marketplace], env=environment, cwd=PROJECT, stdout=output, stderr=output, check=True
        )
    done = subprocess.run(
        [*LITGO, "exec", "--", sys.executable, "-c", SETUP],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    stage.urls = json.loads(done.stdout.splitlines()[-1])
    return stage


@contextmanager
def up(stage: Stage) -> Iterator[None]:
    """`litgo up`, ready: a sensor has looked."""
    text = stage.home / "up.txt"
    began = datetime.now(UTC)
    with text.open("w") as output:
        process = subprocess.Popen([*LITGO, "up"], env=stage.environment, cwd=PROJECT, stdout=output, stderr=output)
    try:
        wait_for("litgo up", lambda: "Ctrl-C" in text.read_text() or process.poll() is not None, 300)
        if process.poll() is not None:
            raise RuntimeError(f"litgo up ended: {text.read_text()[-2000:]}")
        wait_for(
            "the first look of a sensor",
            lambda: stage.dagster("SELECT 1 FROM public.job_ticks WHERE timestamp > %s LIMIT 1", naive(began)),
            120,
        )
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()


def drained(stage: Stage, since: datetime) -> bool:
    """Nothing waits any more and no run is under way."""
    try:
        with stage.cursor() as cursor:
            left = soak_audit.broken_rules(cursor, since)
        ((running,),) = stage.dagster(
            "SELECT count(*) FROM public.runs WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED')"
        )
    except (psycopg2.Error, DatabaseUnavailable):
        return False
    return not running and not any(left.values())


def world_of(stage: Stage) -> Any:
    from litgo_pipelines.simulation.truth import World

    ((loaded,),) = stage.ask("SELECT simulation FROM litgo.own_marketplace")
    return World(
        loaded["seed"], loaded["lawyers"], loaded["cases"], loaded["days"], datetime.fromisoformat(loaded["end"])
    )


def progress(seconds: float, label: str, done: Callable[[], bool], note: Callable[[], Mapping[str, Any]]) -> bool:
    """A bar of seconds until `done`, or all are over; whether it was done."""
    from tqdm import tqdm

    began, shown = time.monotonic(), 0
    with tqdm(total=round(seconds), desc=label, unit="s", mininterval=5) as bar:
        while (passed := time.monotonic() - began) < seconds:
            bar.update(int(passed) - shown)
            shown = int(passed)
            bar.set_postfix(note(), refresh=False)
            if done():
                return True
            time.sleep(2)
    return False


def soak(arguments: argparse.Namespace, home: Path) -> soak_page.Outcome:
    with ExitStack() as stack:
        vendors = stack.enter_context(soak_vendors.serving(0.0, arguments.seed))
        print(f"litgo demo in {home} …", file=sys.stderr, flush=True)
        stage = prepare(home, vendors)
        vendors.fail(arguments.vendor_faults)
        watch = stack.enter_context(watching(home / "watch", stage.ports["EXPORTER_PORT"]))
        stack.enter_context(up(stage))
        began = datetime.now(UTC)
        progress(SETTLES_SECONDS, "settle", lambda: settled(stage), dict)
        settled_after = datetime.now(UTC) - began
        with stage.cursor() as cursor:
            before = soak_audit.totals(cursor)
        processes = Processes(home)
        feed = Feed(stage, world_of(stage), arguments.cases_per_second)
        sampler = Sampler(stage, processes)
        killer = Killer(stage, processes, arguments.kill_every or float("inf"), arguments.seed)
        feed.start()
        sampler.start()
        if arguments.kill_every:
            killer.start()

        def note() -> dict[str, Any]:
            if feed.failure:
                raise RuntimeError("feeding ended") from feed.failure
            return {"cases": feed.lived["cases"], "kills": len(killer.kills)}

        progress(arguments.minutes * 60, "soak", lambda: False, note)
        killer.over.set()
        feed.over.set()
        feed.join()
        fed_until = datetime.now(UTC)
        done = progress(arguments.drain_minutes * 60, "drain", lambda: drained(stage, feed.began), note)
        drained_at = datetime.now(UTC)
        for watcher in killer.watchers:
            watcher.join(60)
        time.sleep(30)  # the exporter counts the last runs, Prometheus sees them
        sampler.over.set()
        sampler.join()
        now = datetime.now(UTC)
        kills = [kill for kill in killer.kills if kill.pid]
        with (
            closing(open_connection(stage.urls["LITGO_DATABASE_URL"])) as litgo,
            closing(open_connection(stage.urls["DAGSTER_DATABASE_URL"])) as dagster,
            litgo.cursor() as rows,
            dagster.cursor() as runs,
        ):
            return soak_page.Outcome(
                arguments=arguments,
                began=feed.began,
                fed_until=fed_until,
                drained=drained_at - fed_until if done else None,
                settled=settled_after,
                lived=feed.lived,
                repeated_steps=feed.repeated,
                slowest_step=feed.slowest,
                rules=soak_audit.broken_rules(rows, feed.began)
                | {f"{kind} that waited unseen at any scrape": most for kind, most in sampler.unseen.items()},
                counted=soak_audit.totals(rows),
                miscounted=soak_audit.miscounted(before, soak_audit.totals(rows)),
                back=sampler.back,
                scrapes=(sampler.scrapes, sampler.missed),
                deliveries=soak_audit.deliveries(rows, vendors),
                envelopes=soak_audit.envelopes(rows, vendors),
                latencies=soak_audit.latencies(rows, feed.began, [kill.at for kill in kills]),
                kills=kills,
                memory=sampler.memory,
                load=sampler.busy,
                fired=watch.fired(feed.began, now) if watch else None,
                told=Counter((each.alert, each.status) for each in (watch.told if watch else ())),
                runs=soak_audit.runs(runs, rows, feed.began),
                ticks=soak_audit.ticks(runs, feed.began, fed_until),
                due=soak_audit.due(feed.began, fed_until),
                fallbacks=soak_audit.fallback_share(sampler.fallbacks),
                vendors=vendors.troubles,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--cases-per-second", type=float, default=1.0)
    parser.add_argument("--kill-every", type=float, default=120.0, help="seconds; 0: nothing is killed")
    parser.add_argument("--vendor-faults", type=float, default=0.01, help="share of the vendors' requests that fail")
    parser.add_argument("--drain-minutes", type=float, default=25)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="a new folder to work in, kept afterwards")
    parser.add_argument("--dry", action="store_true", help="print only, leave docs/soak.md as it is")
    arguments = parser.parse_args()
    home = (arguments.keep or Path(tempfile.mkdtemp(prefix="litgo-soak-"))).resolve()
    home.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's `&` would have it ignored
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        outcome = soak(arguments, home)
    finally:
        for name, left in Processes(home).look().values():
            print(f"left behind: {name}, process {left.pid}", file=sys.stderr)
            with suppress(psutil.NoSuchProcess):
                left.kill()
        if not arguments.keep:
            shutil.rmtree(home, ignore_errors=True)
    text = soak_page.text(outcome)
    print(text)
    if not arguments.dry:
        soak_page.write(text)
    sys.exit(0 if outcome.nothing_lost else 1)


if __name__ == "__main__":
    main()
