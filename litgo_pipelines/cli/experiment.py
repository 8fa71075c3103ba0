"""Commands on experiments: a challenger, or another life of offers, tried on part of the clients."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from litgo_pipelines.cli.session import AsJson, Version, Who, Why, acting, marketplace, say, show
from litgo_pipelines.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from litgo_pipelines.database import Cursor
    from litgo_pipelines.experiments.store import RunningExperiment
    from litgo_pipelines.lifecycle.ledger import Actor

experiment = typer.Typer(
    no_args_is_help=True, help="Experiments, which try something on part of the clients, in layers."
)
Layer = Annotated[Literal["ranking", "offers"], typer.Option(help="what the experiment is about")]


@experiment.command("start")
def start_experiment(
    version: Version,
    who: Who,
    why: Why,
    force: Annotated[bool, typer.Option("--force", help="even when it is not expected to show anything")] = False,
) -> None:
    """Try the open challenger VERSION against what serves."""
    from litgo_pipelines.experiments import store
    from litgo_pipelines.experiments.assets import plan
    from litgo_pipelines.experiments.report import outlook_text

    started = _try(who, why, lambda cursor, actor: store.start(cursor, version, plan(settings()), actor, force=force))
    say(f"expected: {outlook_text(started.spec['outlook'])}")


@experiment.command("offers")
def try_offer_hours(
    hours: Annotated[float, typer.Argument(help="that offers wait for an answer, like 12", metavar="HOURS")],
    who: Who,
    why: Why,
    force: Annotated[bool, typer.Option("--force", help="even when it is not expected to show anything")] = False,
) -> None:
    """Try offers that wait for HOURS against the usual OFFER_HOURS, in a layer beside the rankings'."""
    from litgo_pipelines.experiments import offer_life
    from litgo_pipelines.experiments.assets import plan
    from litgo_pipelines.experiments.report import outlook_text

    values = settings()
    started = _try(
        who,
        why,
        lambda cursor, actor: offer_life.start(cursor, hours, values.offer_hours, plan(values), actor, force=force),
    )
    say(f"expected: {outlook_text(started.spec['outlook'])}")


@experiment.command("list")
def list_experiments(as_json: AsJson = False) -> None:
    """List all experiments, newest first."""
    from litgo_pipelines.experiments import listing

    with marketplace() as cursor:
        found = listing.experiments(cursor)
    show(found, as_json, lambda: listing.table(found) if found else "no experiment was started yet")


@experiment.command("show")
def show_experiment(
    name: Annotated[str, typer.Argument(help="as `litgo experiment list` names it", metavar="NAME")],
    as_json: AsJson = False,
) -> None:
    """Show one experiment: what was expected of it, where it stands, and how it ended."""
    from litgo_pipelines.experiments import listing

    with marketplace() as cursor:
        found = listing.experiments(cursor, name)
    if not found:
        say(f"there is no experiment {name}: `litgo experiment list` names them", err=True)
        raise typer.Exit(1)
    show(found[0], as_json, lambda: listing.text(found[0]))


@experiment.command("ramp")
def ramp_experiment(
    percentage: Annotated[float, typer.Argument(min=0, max=100, help="of new clients, like 25", metavar="PERCENT")],
    who: Who,
    why: Why,
    layer: Layer = "ranking",
) -> None:
    """Treat another share of new clients; nobody who was exposed changes arms."""
    from litgo_pipelines.experiments import store

    _try(who, why, lambda cursor, actor: store.ramp(cursor, round(percentage * 100), actor, layer))


@experiment.command("stop")
def stop_experiment(who: Who, why: Why, layer: Layer = "ranking") -> None:
    """End a layer's running experiment without a verdict; its challenger is archived."""
    from litgo_pipelines.experiments import store

    _try(who, why, lambda cursor, actor: store.stop(cursor, actor, layer))


def _try(who: str, why: str, decide: "Callable[[Cursor, Actor], RunningExperiment]") -> "RunningExperiment":
    from litgo_pipelines.lifecycle.ledger import Actor

    with marketplace() as cursor:
        now = decide(cursor, Actor(acting(who), why, datetime.now(UTC), "", by_hand=True))
    say(f"{now.experiment}: {now.tries}, {now.treatment_points / 100:g} % of the clients")
    return now
