"""Commands on the experiment that tries a challenger on a part of the clients."""

from datetime import UTC, datetime
from typing import Any

import typer

from litgo_pipelines.cli.session import Who, Why, marketplace
from litgo_pipelines.settings import settings

experiment = typer.Typer(no_args_is_help=True, help="The experiment that tries a challenger on a part of the clients.")


@experiment.command("start")
def start_experiment(version: str, who: Who, why: Why) -> None:
    """Try the open challenger VERSION against what serves."""
    from litgo_pipelines.experiments import store as experiments
    from litgo_pipelines.experiments.assets import plan

    _try(who, why, lambda cursor, by: experiments.start(cursor, version, plan(settings()), by))


@experiment.command("ramp")
def ramp_experiment(percentage: float, who: Who, why: Why) -> None:
    """Treat another share of new clients; nobody who was exposed changes arms."""
    from litgo_pipelines.experiments import store as experiments

    _try(who, why, lambda cursor, by: experiments.ramp(cursor, round(percentage * 100), by))


@experiment.command("stop")
def stop_experiment(who: Who, why: Why) -> None:
    """End the running experiment without a verdict; its challenger is archived."""
    from litgo_pipelines.experiments import store as experiments

    _try(who, why, experiments.stop)


def _try(who: str, why: str, decide: Any) -> None:
    from litgo_pipelines.lifecycle.ledger import By

    with marketplace() as cursor:
        now = decide(cursor, By(who, why, datetime.now(UTC), "", by_hand=True))
    typer.echo(f"{now.experiment}: version {now.treatment}, {now.treatment_points / 100:g} % of the clients")
