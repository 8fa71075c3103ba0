"""Commands on model versions: list them, promote, roll back, lift a freeze."""

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.cli.session import AsJson, Version, Who, Why, acting, marketplace, say, show
from litgo_pipelines.runtime.supervisor import platform
from litgo_pipelines.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from litgo_pipelines.database import Connection
    from litgo_pipelines.lifecycle.ledger import Actor, Entry
    from litgo_pipelines.resources.mlflow import MLflow

app = typer.Typer()


@app.command()
def reconcile(as_json: AsJson = False) -> None:
    """Make MLflow's aliases and tags say what the ledger says, and list what was changed."""
    from litgo_pipelines.database import connect
    from litgo_pipelines.lifecycle.reconcile import reconcile as repair
    from litgo_pipelines.resources.mlflow import MLflow

    with platform() as environment, connect(environment["LITGO_DATABASE_URL"]) as connection:
        done = repair(MLflow(tracking_uri=environment["MLFLOW_TRACKING_URI"]), connection.cursor(), datetime.now(UTC))
    lines = [*done.changes]
    lines += [f"version {one} ({done.state.stages[one]}) is missing in the registry" for one in done.missing]
    lines.append(f"{len(done.changes)} changes")
    show({"changes": done.changes, "missing": done.missing}, as_json, lambda: "\n".join(lines))


model = typer.Typer(no_args_is_help=True, help="Which model version serves, and what a person decides about it.")


@model.command("show")
def show_models(as_json: AsJson = False) -> None:
    """List every version with its state, and whether promotion is frozen."""
    from litgo_pipelines.lifecycle import ledger, seal

    with marketplace() as cursor:
        state, nameless = ledger.state(cursor), seal.unsealed(cursor)
    versions = [
        {"version": version, "state": state.stages[version], "since_entry": state.since[version]}
        for version in sorted(state.stages, key=int)
    ]
    lines = [f"version {one['version']:>4}  {one['state']:<11}  since entry {one['since_entry']}" for one in versions]
    lines.append(f"serves: {'version ' + state.champion if state.champion else 'the heuristic ranker'}")
    if nameless:
        names = ", ".join(nameless)
        lines.append(f"no entry names the file of version {names}: `{seal.COMMAND}`; until then it does not serve")
    lines += [f"promotion is frozen: {state.frozen}"] if state.frozen else []
    found = {"versions": versions, "champion": state.champion, "frozen": state.frozen or None, "unsealed": nameless}
    show(found, as_json, lambda: "\n".join(lines))


@model.command("promote")
def promote_model(version: Version, who: Who, why: Why) -> None:
    """Make a candidate or the challenger champion, without waiting for an experiment."""
    from litgo_pipelines.lifecycle import actions

    _decide(
        who,
        why,
        lambda opened, mlflow, actor: actions.promote(opened, mlflow, settings().served_models, version, actor),
    )


@model.command("rollback")
def roll_back_model(version: Version, who: Who, why: Why) -> None:
    """Roll the champion VERSION back: what served before it serves again."""
    from litgo_pipelines.lifecycle import actions

    _decide(
        who,
        why,
        lambda opened, mlflow, actor: actions.roll_back(opened, mlflow, settings().served_models, version, actor),
    )


@model.command("lift-freeze")
def lift_freeze(who: Who, why: Why) -> None:
    """Allow promotion again after it was frozen."""
    from litgo_pipelines.lifecycle import actions

    _decide(who, why, lambda opened, mlflow, actor: actions.lift_freeze(opened, actor))


@model.command("seal")
def seal_model(
    version: Version,
    who: Who,
    why: Why,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Vouch for the file of a version registered before the ledger named files; only then does it serve."""
    from litgo_pipelines.database import connect
    from litgo_pipelines.lifecycle import seal
    from litgo_pipelines.lifecycle.ledger import Actor
    from litgo_pipelines.resources.mlflow import MLflow

    with platform() as environment:
        url, mlflow = environment["LITGO_DATABASE_URL"], MLflow(tracking_uri=environment["MLFLOW_TRACKING_URI"])
        with connect(url) as connection, connection.cursor() as cursor:
            found = seal.look(cursor, mlflow, version)
        for line in found.lines():
            say(line)
        if not found.problems and not yes:
            typer.confirm(f"Is this version {version}?", abort=True)
        actor = Actor(acting(who), why, datetime.now(UTC), "", by_hand=True)
        with connect(url) as connection, connection.cursor() as cursor:
            entry = seal.seal(cursor, found, actor)
    say(f"entry {entry.sequence} of the ledger: {entry.transition} {entry.version}; the next run may rank by it")


def _decide(who: str, why: str, decide: "Callable[[Connection, MLflow, Actor], Entry]") -> None:
    """One decision of a person, written to the ledger; MLflow shows it with the next reconciliation."""

    from litgo_pipelines.database import open_connection
    from litgo_pipelines.lifecycle.ledger import Actor
    from litgo_pipelines.resources.mlflow import MLflow

    with platform() as environment, closing(open_connection(environment["LITGO_DATABASE_URL"])) as opened:
        actor = Actor(acting(who), why, datetime.now(UTC), "", by_hand=True)
        entry = decide(opened, MLflow(tracking_uri=environment["MLFLOW_TRACKING_URI"]), actor)
    say(f"entry {entry.sequence} of the ledger: {entry.transition} {entry.version}")
