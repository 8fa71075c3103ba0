"""The `litgo` command: what a person or a service manager starts. The work itself is elsewhere."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from litgo_pipelines import supervisor
from litgo_pipelines.database import DatabaseUnavailable
from litgo_pipelines.database.migrate import MigrationError
from litgo_pipelines.settings import SettingsError, settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)

Lawyers = Annotated[int, typer.Option(min=10, help="lawyers of the simulated marketplace")]
CasesOption = Annotated[int, typer.Option(min=10, help="cases of the simulated marketplace")]
Days = Annotated[int, typer.Option(min=31, help="days of history")]
Seed = Annotated[int, typer.Option(help="same seed and sizes, same marketplace")]


@app.command()
def up() -> None:
    """Everything on loopback until Ctrl-C: Postgres, MLflow, Dagster webserver and daemon, /metrics."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's `&` would have it ignored
    try:
        with supervisor.platform() as environment:
            supervisor.initialise_dagster(environment)
            services = [
                supervisor.mlflow_service(environment),
                *supervisor.dagster_services(),
                supervisor.exporter_service(),
            ]
            typer.echo("starting MLflow and Dagster …")
            with supervisor.running(services, environment):
                _addresses()
                typer.echo(f"logs: {environment['LITGO_HOME']}/logs — Ctrl-C stops everything")
                supervisor.watch(services, environment)
    except KeyboardInterrupt:
        typer.echo("stopped")


@app.command()
def exporter() -> None:
    """/metrics for Prometheus, /healthz, /readyz, until stopped. `litgo up` starts one."""
    from functools import cache

    from litgo_pipelines.observability.exporter import Exporter, serving

    def instance() -> Any:
        from dagster import DagsterInstance

        return DagsterInstance.get()

    config = settings()
    if config.litgo_database_url is None:
        raise SettingsError("LITGO_DATABASE_URL is not set: `litgo up` starts an exporter with all it needs")
    dagster = cache(instance) if os.environ.get("DAGSTER_HOME") else None
    source = Exporter(config.litgo_database_url, dagster, config.home)
    with serving(source, config.exporter_host, config.exporter_port, config.exporter_refresh_seconds) as port:
        typer.echo(f"http://{config.exporter_host}:{port}/metrics")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


@app.command()
def migrate() -> None:
    """Create what is missing in the database; says what it did."""
    with supervisor.platform():
        typer.echo("the database is up to date")


@app.command()
def simulate(
    lawyers: Lawyers = 2000, cases: CasesOption = 20_000, days: Days = 120, seed: Seed = 7, replace: bool = False
) -> None:
    """Load a simulated marketplace; refuses a database that holds a real one."""
    from litgo_pipelines.simulation.load import simulate as load

    with supervisor.platform() as environment:
        counts = load(
            environment["LITGO_DATABASE_URL"], seed=seed, lawyers=lawyers, cases=cases, days=days, end=_last_night(),
            replace=replace,
        )  # fmt: skip
        typer.echo(json.dumps(counts, default=str))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def exec(context: typer.Context) -> None:
    """Run any command with the project's databases up and its environment set: litgo exec -- dagster job list."""
    if not context.args:
        raise typer.BadParameter("which command? for example: litgo exec -- psql")
    with supervisor.platform() as environment:
        code = subprocess.run(context.args, env={**os.environ, **environment}, check=False).returncode
    raise typer.Exit(code)


@app.command()
def demo(lawyers: Lawyers = 2000, cases: CasesOption = 20_000, days: Days = 120, seed: Seed = 7) -> None:
    """A simulated marketplace, 30 nights of equity, one retraining and one matching, through real Dagster runs."""
    from litgo_pipelines.equity.assets import NIGHTS
    from litgo_pipelines.simulation.load import simulate as load

    with supervisor.platform() as environment:
        end = _last_night()
        load(
            environment["LITGO_DATABASE_URL"], seed=seed, lawyers=lawyers, cases=cases, days=days, end=end, replace=True
        )
        supervisor.initialise_dagster(environment)
        nights = NIGHTS.get_partition_keys(end + timedelta(seconds=1))[-30:]
        with supervisor.running([supervisor.mlflow_service(environment)], environment):
            typer.echo(f"nightly equity, {nights[0]} to {nights[-1]}, as one backfill …")
            _execute("nightly_equity", environment, {
                "dagster/asset_partition_range_start": nights[0], "dagster/asset_partition_range_end": nights[-1],
            })  # fmt: skip
            typer.echo("retraining …")
            _execute("retraining", environment, {})
            typer.echo("what is known of each lawyer, then offers for the cases that wait …")
            _execute("evidence", environment, {})
            _execute("embeddings", environment, {})
            _execute("matching", environment, {})
        _summary(environment["LITGO_DATABASE_URL"])
    typer.echo("\nTo look at it: `make up`, then open")
    _addresses()


@app.command()
def explain(case_id: str) -> None:
    """Why a case was offered to whom: features, load, and what it would have taken for the next five."""
    from litgo_pipelines.database import connect
    from litgo_pipelines.matching import explain as explaining
    from litgo_pipelines.matching.serving import Rankers
    from litgo_pipelines.resources.mlflow import MLflow

    with supervisor.platform() as environment:
        with connect(environment["LITGO_DATABASE_URL"]) as connection, connection.cursor() as cursor:
            rounds = explaining.read(cursor, case_id)
        rankers = Rankers(MLflow(tracking_uri=environment["MLFLOW_TRACKING_URI"]), settings().served_models)
        for found in rounds:
            parts = explaining.contributions(found, rankers.parts(found.model_version))
            typer.echo(explaining.text(found, parts) + "\n")


@app.command("dead-letters")
def dead_letters() -> None:
    """Cases nobody was found for in three tries, messages not delivered for a day, with the reason."""
    from litgo_pipelines.notifications import queue

    with _marketplace() as cursor:
        cursor.execute(
            "SELECT case_id::text, last_failed_at, reason FROM litgo.matching_failures "
            "WHERE dead ORDER BY last_failed_at, case_id"
        )
        cases, messages = cursor.fetchall(), queue.dead(cursor)
    for case_id, failed_at, reason in cases:
        typer.echo(f"case     {case_id}  {failed_at:%Y-%m-%d %H:%M}  {reason}")
    for message in messages:
        typer.echo(
            f"message  {message.message_id}  {message.kind}  {message.created_at:%Y-%m-%d %H:%M}  {message.reason}"
        )
    typer.echo(
        f"{len(cases)} cases, {len(messages)} messages"
        + ("; `litgo retry CASE_OR_MESSAGE_ID` lets one go again" * bool(cases or messages))
    )


contrato = typer.Typer(no_args_is_help=True, help="Contratos assinados à mão (docs/manual-contracts.md).")
app.add_typer(contrato, name="contrato")


@contrato.command("tarefas")
def signing_tasks() -> None:
    """Os contratos que esperam assinatura em papel, o mais urgente primeiro."""
    from litgo_pipelines.contracts import manual

    with _marketplace() as cursor:
        typer.echo(manual.markdown(manual.open_tasks(cursor, datetime.now(UTC))))


@contrato.command("pdf")
def contract_document(contrato: str) -> None:
    """O documento a assinar, na saída padrão: litgo contrato pdf CONTRATO > contrato.pdf"""
    from litgo_pipelines.contracts import manual

    if sys.stdout.isatty():
        raise typer.BadParameter("redirecione a saída: litgo contrato pdf CONTRATO > contrato.pdf")
    with _marketplace() as cursor:
        sys.stdout.buffer.write(manual.document(cursor, contrato))


@contrato.command("assinar")
def record_signature(
    contrato: str,
    partes: Annotated[str, typer.Option(help="client, lawyer ou both")],
    em: Annotated[str, typer.Option(help="quando, com fuso: 2026-01-31T14:30:00-03:00")],
    por: Annotated[str, typer.Option(help="quem registra")],
    sha256: Annotated[str, typer.Option(help="do arquivo assinado, 64 dígitos hexadecimais")],
) -> None:
    """Registra assinaturas em papel."""
    from contextlib import closing

    from litgo_pipelines.contracts import manual
    from litgo_pipelines.database import open_connection

    with supervisor.platform() as environment, closing(open_connection(environment["LITGO_DATABASE_URL"])) as opened:
        typer.echo(
            manual.record_signature(
                opened, contract_id=contrato, signed_by=partes, signed_at=em, recorded_by=por, sha256=sha256,
                as_of=datetime.now(UTC),
            )
        )  # fmt: skip


model = typer.Typer(no_args_is_help=True, help="Which model version serves, and what a person decides about it.")
app.add_typer(model, name="model")
Who = Annotated[str, typer.Option(help="who decides")]
Why = Annotated[str, typer.Option(help="the reason, kept in the ledger")]


@model.command("show")
def show_models() -> None:
    """Every version with its state, and whether promotion is frozen."""
    from litgo_pipelines.lifecycle import ledger

    with _marketplace() as cursor:
        state = ledger.state(cursor)
    for version in sorted(state.standing, key=int):
        typer.echo(f"version {version:>4}  {state.standing[version]:<11}  since entry {state.since[version]}")
    typer.echo(f"serves: {'version ' + state.champion if state.champion else 'the hand weights'}")
    if state.frozen:
        typer.echo(f"promotion is frozen: {state.frozen}")


@model.command("promote")
def promote_model(version: str, who: Who, why: Why) -> None:
    """Make a candidate or the challenger champion, without waiting for an experiment."""
    from litgo_pipelines.lifecycle import actions

    _decide(who, why, lambda opened, mlflow, by: actions.promote(opened, mlflow, settings().served_models, version, by))


@model.command("rollback")
def roll_back_model(version: str, who: Who, why: Why) -> None:
    """Take the champion VERSION back: what served before it serves again."""
    from litgo_pipelines.lifecycle import actions

    _decide(
        who, why, lambda opened, mlflow, by: actions.roll_back(opened, mlflow, settings().served_models, version, by)
    )


@model.command("lift-freeze")
def lift_freeze(who: Who, why: Why) -> None:
    """Let promotion go on after it was frozen."""
    from litgo_pipelines.lifecycle import actions

    _decide(who, why, lambda opened, mlflow, by: actions.lift_freeze(opened, by))


def _decide(who: str, why: str, decide: Any) -> None:
    """One decision of a person, written to the ledger; MLflow shows it with the next reconciliation."""
    from contextlib import closing

    from litgo_pipelines.database import open_connection
    from litgo_pipelines.lifecycle.ledger import By
    from litgo_pipelines.resources.mlflow import MLflow

    with supervisor.platform() as environment, closing(open_connection(environment["LITGO_DATABASE_URL"])) as opened:
        by = By(who, why, datetime.now(UTC), "", by_hand=True)
        entry = decide(opened, MLflow(tracking_uri=environment["MLFLOW_TRACKING_URI"]), by)
    typer.echo(f"entry {entry.sequence} of the ledger: {entry.transition} {entry.version}")


experiment = typer.Typer(no_args_is_help=True, help="The experiment that tries a challenger on a part of the clients.")
app.add_typer(experiment, name="experiment")


@experiment.command("start")
def start_experiment(version: str, who: Who, why: Why) -> None:
    """Try the open challenger VERSION against what serves."""
    from litgo_pipelines.lifecycle import experiments
    from litgo_pipelines.lifecycle.experiment_assets import plan

    _try(who, why, lambda cursor, by: experiments.start(cursor, version, plan(settings()), by))


@experiment.command("ramp")
def ramp_experiment(percentage: float, who: Who, why: Why) -> None:
    """Treat another share of new clients; nobody who was exposed changes arms."""
    from litgo_pipelines.lifecycle import experiments

    _try(who, why, lambda cursor, by: experiments.ramp(cursor, round(percentage * 100), by))


@experiment.command("stop")
def stop_experiment(who: Who, why: Why) -> None:
    """End the running experiment without a verdict; its challenger is archived."""
    from litgo_pipelines.lifecycle import experiments

    _try(who, why, experiments.stop)


def _try(who: str, why: str, decide: Any) -> None:
    from litgo_pipelines.lifecycle.ledger import By

    with _marketplace() as cursor:
        now = decide(cursor, By(who, why, datetime.now(UTC), "", by_hand=True))
    typer.echo(f"{now.experiment}: version {now.treatment}, {now.treatment_points / 100:g} % of the clients")


@app.command()
def reconcile() -> None:
    """Make MLflow's aliases and tags say what the ledger says, and say what was changed."""
    from litgo_pipelines.database import connect
    from litgo_pipelines.lifecycle.reconcile import reconcile as repair
    from litgo_pipelines.resources.mlflow import MLflow

    with supervisor.platform() as environment, connect(environment["LITGO_DATABASE_URL"]) as connection:
        done = repair(MLflow(tracking_uri=environment["MLFLOW_TRACKING_URI"]), connection.cursor(), datetime.now(UTC))
    for change in done.changes:
        typer.echo(change)
    for version in done.missing:
        typer.echo(f"version {version} ({done.state.standing[version]}) is missing in the registry")
    typer.echo(f"{len(done.changes)} changes")


triagem = typer.Typer(no_args_is_help=True, help="A fila de revisão da triagem (docs/triage.md).")
app.add_typer(triagem, name="triagem")


@triagem.command("fila")
def review_queue() -> None:
    """Os casos que aguardam uma pessoa, o mais antigo primeiro, e por quê."""
    from litgo_pipelines.intake import review

    with supervisor.platform() as environment:
        typer.echo(review.show_queue(environment["LITGO_DATABASE_URL"], datetime.now(UTC)))


@triagem.command("decidir")
def review_decision(caso: str, area: str, subarea: str, por: Annotated[str, typer.Option(help="quem decide")]) -> None:
    """Decide a área e a subárea de um caso da fila."""
    from litgo_pipelines.intake import review

    with supervisor.platform() as environment:
        url = environment["LITGO_DATABASE_URL"]
        typer.echo(review.take_decision(url, caso, area, subarea, por, datetime.now(UTC)))


@app.command()
def retry(dead_letter: str) -> None:
    """Let a dead letter go again: a case with the next matching, a message with the next delivery."""
    from litgo_pipelines.notifications import queue

    with _marketplace() as cursor:
        if dead_letter.isdecimal():
            again = queue.retry(cursor, int(dead_letter), datetime.now(UTC))
        else:
            cursor.execute("DELETE FROM litgo.matching_failures WHERE case_id::text = %s", (dead_letter,))
            again = cursor.rowcount > 0
        if not again:
            raise typer.BadParameter(f"{dead_letter} is no dead letter: `litgo dead-letters` lists them")
    typer.echo(f"{dead_letter} goes with the next run")


@contextmanager
def _marketplace() -> Iterator[Any]:
    """A cursor in one transaction."""
    from litgo_pipelines.database import connect

    with (
        supervisor.platform() as environment,
        connect(environment["LITGO_DATABASE_URL"]) as connection,
        connection.cursor() as cursor,
    ):
        yield cursor


def _last_night() -> datetime:
    """The newest 02:00 in São Paulo: the simulated history ends with the newest night."""
    from litgo_pipelines.equity.assets import NIGHTS

    nights = NIGHTS.get_partition_keys(datetime.now(UTC))
    if len(nights) < 31:
        raise typer.BadParameter("EQUITY_FIRST_NIGHT must lie at least 31 nights back")
    return NIGHTS.time_window_for_partition_key(nights[-1]).end


def _addresses() -> None:
    typer.echo(f"  Dagster  http://{supervisor.HOST}:{settings().dagster_port}/asset-groups")
    typer.echo(f"  MLflow   http://{supervisor.HOST}:{settings().mlflow_port}")
    typer.echo(f"  metrics  http://{supervisor.HOST}:{settings().exporter_port}/metrics")


def _execute(job: str, environment: dict[str, str], tags: dict[str, str]) -> None:
    """One Dagster run in a process of its own; its log goes to the log folder."""
    log = supervisor.Path(environment["LITGO_HOME"]) / "logs" / f"{job}.log"
    command = [
        sys.executable, "-m", "dagster", "job", "execute", "-m", "litgo_pipelines.definitions", "-j", job,
        "--tags", json.dumps(tags),
    ]  # fmt: skip
    with log.open("wb") as output:
        code = subprocess.run(
            command,
            env={**os.environ, **environment},
            cwd=supervisor.PROJECT,
            stdout=output,
            stderr=output,
            check=False,
        ).returncode
    if code:
        typer.echo(f"the run of {job} failed: see {log}", err=True)
        raise typer.Exit(code)


def _summary(url: str) -> None:
    from litgo_pipelines.database import connect

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
        cursor.execute(
            "SELECT count(*), coalesce(sum(candidates), 0), max(case_id::text), "
            "(SELECT count(*) FROM litgo.outbox WHERE kind = 'offer'), "
            "(SELECT string_agg(DISTINCT coalesce('model version ' || model_version, 'hand weights'), ', ') "
            "FROM litgo.exposures WHERE arm IS DISTINCT FROM 'holdout') FROM litgo.matchings"
        )
        matched, candidates, some_case, made, ranker = cursor.fetchone()
    typer.echo(
        f"\nMarketplace  {lawyers:,} lawyers, {cases:,} cases, {offers:,} offers (simulated)\n"
        f"Equity       {nights} nights; {night}: Gini {_shown(gini, '.3f')} (target < 0.3), "
        f"coverage {_shown(coverage, '.1%')} (at most {_shown(bound, '.1%')}), "
        f"spread {_shown(spread, '.0f')} points in the worst pool"
    )
    decision = evaluation["decision"]
    typer.echo(
        f"Learning     {snapshot['rows']:,} rows of {snapshot['cases']:,} cases, {candidate['rounds']} rounds × "
        f"{len(candidate['seeds'])} seeds\n"
        f"             held out {decision['queries']:,} cases: NDCG@10 {decision['candidate_ndcg_10']:.3f}, "
        f"{evaluation['baseline']} {decision['baseline_ndcg_10']:.3f} ({decision['lift']:+.1%})\n"
        f"             {decision['outcome']}; MLflow litgo-ranker version {version}"
    )
    if matched:
        typer.echo(
            f"Matching     {matched:,} waiting cases, {candidates / matched:.0f} eligible lawyers each, "
            f"{made:,} offers; ranked by {ranker}\n             why: .venv/bin/litgo explain {some_case}"
        )


def _shown(value: float | None, kind: str) -> str:
    return "–" if value is None else format(value, kind)


def main() -> None:
    """The command's entry: an error whose message says what to do is shown as that message, others as they are."""
    from litgo_pipelines.contracts.manual import SignatureError
    from litgo_pipelines.intake.review import ReviewError
    from litgo_pipelines.intake.taxonomy import UnknownSubarea
    from litgo_pipelines.lifecycle.ledger import Refused
    from litgo_pipelines.matching.explain import NotMatched
    from litgo_pipelines.resources.mlflow import MLflowUnavailable
    from litgo_pipelines.simulation.load import NotOurMarketplace, OtherSimulation

    told = (
        NotMatched,
        MLflowUnavailable,
        Refused,
        ReviewError,
        SignatureError,
        UnknownSubarea,
        SettingsError,
        DatabaseUnavailable,
        MigrationError,
        supervisor.StartError,
        NotOurMarketplace,
        OtherSimulation,
    )
    try:
        app()
    except told as error:
        sys.exit(f"litgo: {error}")


if __name__ == "__main__":
    main()
