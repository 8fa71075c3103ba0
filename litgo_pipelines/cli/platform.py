"""Commands that start processes: the platform, the exporter, the demo, any command with its databases running."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from litgo_pipelines.cli.session import AsJson, say, show
from litgo_pipelines.database import DatabaseUnavailable
from litgo_pipelines.database.embedded import Ended, programs, unwound_at_sigterm
from litgo_pipelines.database.urls import psql_variables
from litgo_pipelines.observability import stops
from litgo_pipelines.runtime import supervisor
from litgo_pipelines.settings import SettingsError, settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

app = typer.Typer()

LawyersOption = Annotated[int, typer.Option(min=10, max=1_000_000, help="lawyers of the simulated marketplace")]
CasesOption = Annotated[int, typer.Option(min=10, max=10_000_000, help="cases of the simulated marketplace")]
DaysOption = Annotated[int, typer.Option(min=31, max=3_650, help="days of history")]
World = Literal["usual", "recency", "noise", "changing"]  # of simulation.worlds, which takes a second to import
WorldOption = Annotated[World, typer.Option(help="what decides who says yes")]
SeedOption = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="same seed and sizes, same marketplace")]


@app.command()
def up() -> None:
    """Run everything on loopback until Ctrl-C: Postgres, MLflow, Dagster webserver and daemon, /metrics."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's `&` would have it ignored
    try:
        with (
            unwound_at_sigterm(),
            supervisor.alone(settings().home),
            supervisor.platform() as environment,
            supervisor.code_server(environment) as (code_server, workspace),
        ):
            supervisor.initialise_dagster(environment)
            services = [
                supervisor.mlflow_service(environment),
                code_server,
                *supervisor.dagster_services(workspace),
                supervisor.exporter_service(),
            ]
            say("starting MLflow and Dagster …")
            with supervisor.running(services, environment):
                _addresses()
                say(f"logs: {environment['LITGO_HOME']}/logs — Ctrl-C stops everything")
                try:
                    supervisor.watch(services, environment)
                finally:
                    with suppress(OSError):  # a full disk stops nobody
                        stops.note(Path(environment["LITGO_HOME"]), datetime.now(UTC))
    except (KeyboardInterrupt, Ended):
        with suppress(OSError):  # its terminal was closed
            say("stopped")


@app.command()
def exporter() -> None:
    """Serve /metrics for Prometheus, /healthz and /readyz until stopped; `litgo up` starts one."""
    from functools import cache

    from litgo_pipelines.observability.exporter import Exporter, serving

    config = settings()
    if config.litgo_database_url is None:
        environment = supervisor.as_it_stands()
        if environment is None:
            raise SettingsError(
                "LITGO_DATABASE_URL is not set, and the embedded server does not run: `litgo up` starts it"
            )
        os.environ.update(environment)
    url = config.litgo_database_url or os.environ["LITGO_DATABASE_URL"]
    dagster = cache(_instance) if os.environ.get("DAGSTER_HOME") else None
    source = Exporter(url, dagster, config.home)
    every, names = config.exporter_refresh_seconds, config.exporter_allowed_hosts
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # in all threads: only sigwait takes them
    with serving(source, config.exporter_host, config.exporter_port, every, names) as port:
        say(f"http://{config.exporter_host}:{port}/metrics")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show what runs, waits or is late, the champion, the last night and backup. Exit code 1: somebody should look.

    Reads only: it starts nothing, not even the embedded Postgres.
    """
    import time

    from litgo_pipelines.lifecycle import seal
    from litgo_pipelines.observability import status as page
    from litgo_pipelines.observability.exporter import Exporter

    environment = supervisor.as_it_stands()
    services = (
        supervisor.mlflow_service(environment or {"LITGO_HOME": str(settings().home), "LITGO_MLFLOW_DATABASE_URL": ""}),
        *supervisor.dagster_services(Path()),
        supervisor.exporter_service(),
    )
    answers = {service.name: service.answers() for service in services if service.port}
    if environment is None:
        said = page.nothing_runs(answers)
    else:
        os.environ.update(environment)
        known = (Path(environment["DAGSTER_HOME"]) / "dagster.yaml").exists()
        source = Exporter(
            environment["LITGO_DATABASE_URL"], _instance if known else None, settings().home, counts_runs=False
        )
        for name in ("dagster", "database"):
            source.sources[name].refresh(name)
        unsealed = seal.unsealed_in(environment["LITGO_DATABASE_URL"])
        said = page.lines(page.series(source.collect()), answers, time.time(), unsealed)
    show(said, as_json, lambda: page.as_text(said))
    raise typer.Exit(any(line.state == page.BAD for line in said))


@app.command("ui-user")
def ui_user(
    name: Annotated[str, typer.Argument(help="letters, digits and . _ @ + -", metavar="NAME")],
    viewer: Annotated[bool, typer.Option("--viewer", help="may look, not change")] = False,
) -> None:
    """Ask for a password and print the account's line for LITGO_UI_USERS, the login of Dagster's pages."""
    from litgo_pipelines.runtime.ui import accounts

    if not accounts.NAME.fullmatch(name):
        raise typer.BadParameter("letters, digits and . _ @ + -, 64 at most", param_hint="NAME")
    password = typer.prompt("password", hide_input=True, confirmation_prompt=True, err=True)
    if len(password) < accounts.SHORTEST:
        raise typer.BadParameter(f"{accounts.SHORTEST} characters or more", param_hint="password")
    say(f"{name}:{'viewer' if viewer else 'operator'}:{accounts.hashed(password)}")


@app.command()
def migrate() -> None:
    """Create what is missing in the database, and say what was done."""
    with supervisor.platform():
        say("the database is up to date")


@app.command()
def simulate(
    lawyers: LawyersOption = 2000,
    cases: CasesOption = 20_000,
    days: DaysOption = 120,
    seed: SeedOption = 7,
    replace: Annotated[bool, typer.Option("--replace", help="instead of another simulated one that is there")] = False,
    world: WorldOption = "usual",
) -> None:
    """Load a simulated marketplace; refuses a database that holds a real one."""
    from litgo_pipelines.simulation.load import simulate as load

    with _simulation_platform() as environment:
        counts = load(
            environment["LITGO_DATABASE_URL"],
            seed=seed,
            lawyers=lawyers,
            cases=cases,
            days=days,
            end=_last_night(),
            replace=replace,
            kind=world,
        )
        say(json.dumps(counts, default=str))


@app.command()
def reset(
    yes: Annotated[bool, typer.Option("--yes", help="do not ask; for scripts")] = False,
    added: Annotated[bool, typer.Option("--added", help="also rows that were added to the simulated ones")] = False,
) -> None:
    """Empty the simulated marketplace and what was computed from it, as after `litgo migrate`; never a real one."""
    from litgo_pipelines.simulation import load

    with supervisor.alone(settings().home), _simulation_platform() as environment:
        url = environment["LITGO_DATABASE_URL"]
        found = load.simulated(url)
        there = ", ".join(f"{number:,} {table}" for table, number in found.rows.items())
        say(f"simulated: {there}; what was computed from them, models' ledger and experiments too", err=True)
        if not yes:
            typer.confirm("Empty all of it?", abort=True, err=True)
        load.reset(url, added=added)
    say("emptied: `litgo demo` or `litgo simulate` fills it again. Runs in Dagster and MLflow stay as history")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def exec(context: typer.Context) -> None:
    """Run any command with the project's databases up and its environment set, like litgo exec -- dagster job list.

    psql and its like find the marketplace's database, and are the embedded server's where the machine has none.
    """
    if not context.args:
        raise typer.BadParameter("which command? for example: litgo exec -- psql")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), str(programs())))
    if (command := shutil.which(context.args[0], path=path)) is None:
        raise typer.BadParameter(f"there is no command {context.args[0]!r}")
    with supervisor.platform() as environment:
        more = {"PATH": path, **psql_variables(environment["LITGO_DATABASE_URL"])}
        code = supervisor.run_child([command, *context.args[1:]], environment | more)
    raise typer.Exit(code)


@app.command()
def demo(
    lawyers: LawyersOption = 2000, cases: CasesOption = 20_000, days: DaysOption = 120, seed: SeedOption = 7
) -> None:
    """Simulate a marketplace, then 30 nights of equity, one retraining and one matching as real Dagster runs."""
    from litgo_pipelines.equity.assets import NIGHTS
    from litgo_pipelines.simulation.load import simulate as load

    with supervisor.alone(settings().home), _simulation_platform() as environment:
        end = _last_night()
        load(
            environment["LITGO_DATABASE_URL"],
            seed=seed,
            lawyers=lawyers,
            cases=cases,
            days=days,
            end=end,
            replace=True,
        )
        with supervisor.running([supervisor.mlflow_service(environment)], environment):
            supervisor.initialise_dagster(environment)
            nights = NIGHTS.get_partition_keys(end + timedelta(seconds=1))[-30:]
            say(f"nightly equity, {nights[0]} to {nights[-1]}, as one backfill …")
            _execute(
                "nightly_equity",
                environment,
                {
                    "dagster/asset_partition_range_start": nights[0],
                    "dagster/asset_partition_range_end": nights[-1],
                },
            )
            say("retraining …")
            _execute("retraining", environment, {})
            say("what is known of each lawyer, then offers for the cases that wait …")
            _execute("evidence", environment, {})
            _execute("embeddings", environment, {})
            _execute("matching", environment, {})
        _summary(environment["LITGO_DATABASE_URL"])
    say(f"\nTo look at it: `{_this()} up`, then open")
    _addresses()


def _instance() -> "DagsterInstance":
    from dagster import DagsterInstance

    return DagsterInstance.get()


@contextmanager
def _simulation_platform() -> Iterator[dict[str, str]]:
    """The platform, unless it would migrate a marketplace that is somebody's."""
    from litgo_pipelines.simulation.load import refuse_others

    if (url := settings().litgo_database_url) is not None:
        with suppress(DatabaseUnavailable):  # it does not exist yet
            refuse_others(url)
    with supervisor.platform() as environment:
        yield environment


def _last_night() -> datetime:
    """The newest 02:00 in São Paulo: the simulated history ends with the newest night."""
    from litgo_pipelines.equity.assets import NIGHTS

    nights = NIGHTS.get_partition_keys(datetime.now(UTC))
    if len(nights) < 31:
        raise typer.BadParameter("EQUITY_FIRST_NIGHT must lie at least 31 nights back")
    return NIGHTS.time_window_for_partition_key(nights[-1]).end


def _this() -> str:
    """This command, as it can be typed again where it was."""
    found, given = shutil.which("litgo"), Path(sys.argv[0])
    if given.name == "__main__.py":
        return "python -m litgo_pipelines.cli"
    return "litgo" if found and given.exists() and Path(found).samefile(given) else sys.argv[0]


def _addresses() -> None:
    say(f"  Dagster  http://{supervisor.HOST}:{settings().dagster_port}/asset-groups")
    say(f"  office   http://{supervisor.HOST}:{settings().dagster_port}/escritorio")
    say(f"  MLflow   http://{supervisor.HOST}:{settings().mlflow_port}  (account admin, see mlflow-admin-password)")
    say(f"  metrics  http://{supervisor.HOST}:{settings().exporter_port}/metrics")


def _execute(job: str, environment: dict[str, str], tags: dict[str, str]) -> None:
    """One Dagster run in a process of its own; its log goes to the log folder."""
    log = Path(environment["LITGO_HOME"]) / "logs" / f"{job}.log"
    command = [sys.executable, "-m", "litgo_pipelines.runtime.execute", job, str(log), json.dumps(tags)]
    if supervisor.run_child(command, environment):
        say(f"the run of {job} failed: see {log}", err=True)
        raise typer.Exit(1)


def _summary(url: str) -> None:
    from litgo_pipelines.database import connect, sql
    from litgo_pipelines.lifecycle.transitions import HEURISTIC, STORED_HEURISTIC

    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM lawyers), (SELECT count(*) FROM cases), (SELECT count(*) FROM offers)"
        )
        lawyers, cases, offers = cursor.fetchone()
        cursor.execute(
            "SELECT count(*) OVER (), night, gini, coverage, coverage_bound, spread_points "
            "FROM litgo.offer_distribution ORDER BY night DESC LIMIT 1"
        )
        nights, night, gini, coverage, bound, spread = cursor.fetchone()
        cursor.execute(
            "SELECT snapshot, candidate, mlflow_version, evaluation FROM litgo.retrainings "
            "ORDER BY started_at DESC LIMIT 1"
        )
        snapshot, candidate, version, evaluation = cursor.fetchone()
        cursor.execute(sql("litgo_pipelines.cli", "demo_matching.sql"))
        matched, candidates, some_case, made, ranker = cursor.fetchone()
    say(
        f"\nMarketplace  {lawyers:,} lawyers, {cases:,} cases, {offers:,} offers (simulated)\n"
        f"Equity       {nights} nights; {night}: Gini {_shown(gini, '.3f')} (target < 0.3), "
        f"coverage {_shown(coverage, '.1%')} (at most {_shown(bound, '.1%')}), "
        f"spread {_shown(spread, '.0f')} points in the worst pool"
    )
    decision, baseline = evaluation["decision"], evaluation["baseline"]
    first_run = baseline == STORED_HEURISTIC
    say(
        f"Learning     {snapshot['rows']:,} rows of {snapshot['cases']:,} cases, {candidate['rounds']} rounds × "
        f"{len(candidate['seeds'])} seeds\n"
        f"             held out {decision['queries']:,} cases: NDCG@{decision['k']} "
        f"{_shown(decision['candidate_ndcg'], '.3f')}, "
        f"{HEURISTIC if first_run else baseline} {_shown(decision['baseline_ndcg'], '.3f')} "
        f"({_shown(decision['lift'], '+.1%')})\n"
        f"             {decision['outcome']}; MLflow litgo-ranker version {version}"
    )
    if not first_run:
        say("             an earlier run's champion was the baseline: `litgo reset` before it begins anew")
    if matched:
        say(
            f"Matching     {matched:,} waiting cases, {candidates / matched:.0f} eligible lawyers each, "
            f"{made:,} offers; ranked by {ranker}\n             why: {_this()} explain {some_case}"
        )


def _shown(value: float | None, kind: str) -> str:
    return "–" if value is None else format(value, kind)
