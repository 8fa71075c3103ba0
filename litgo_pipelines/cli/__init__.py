"""The `litgo` command, used by people and service managers. One file per group of commands, no SQL in them."""

import io
import os
import sys
from typing import Annotated

import typer

from litgo_pipelines.cli import backup, contracts, doctor, experiment, model, persons, platform, review
from litgo_pipelines.cli.session import say

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        say(f"litgo {version('litgo_pipelines')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="print the version", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Run the data and learning pipelines of a lawyer–client marketplace. `litgo demo` shows all of it."""


for group in (platform.app, backup.app, doctor.app, review.app, model.app):
    app.add_typer(group)
app.add_typer(contracts.contrato, name="contrato")
app.add_typer(model.model, name="model")
app.add_typer(experiment.experiment, name="experiment")
app.add_typer(review.triagem, name="triagem")
app.add_typer(review.casos, name="casos")
app.add_typer(review.mascara, name="mascara")
app.add_typer(persons.titular, name="titular")


def main() -> None:
    """The command's entry: an error whose message says what to do is shown as that message, others as they are."""
    import psycopg2

    from litgo_pipelines.backup.manifest import BackupRefused
    from litgo_pipelines.cli.session import plain
    from litgo_pipelines.contracts.manual import SignatureError
    from litgo_pipelines.database import DatabaseRefused, DatabaseUnavailable
    from litgo_pipelines.database.urls import without_credentials
    from litgo_pipelines.intake.review import ReviewError
    from litgo_pipelines.intake.taxonomy import UnknownSubarea
    from litgo_pipelines.lifecycle.ledger import Refused
    from litgo_pipelines.marketplace.mapping import MappingError
    from litgo_pipelines.marketplace.migrate import MigrationError
    from litgo_pipelines.matching.explain import NotMatched
    from litgo_pipelines.persons.follow import Hidden
    from litgo_pipelines.persons.keys import NoPerson
    from litgo_pipelines.resources.loopback import without_proxy
    from litgo_pipelines.resources.mlflow import MLflowUnavailable
    from litgo_pipelines.runtime.supervisor import StartError
    from litgo_pipelines.settings import SettingsError
    from litgo_pipelines.simulation.load import NotOurMarketplace, OtherSimulation

    told = (
        BackupRefused,
        Hidden,
        NoPerson,
        NotMatched,
        MLflowUnavailable,
        Refused,
        ReviewError,
        SignatureError,
        UnknownSubarea,
        SettingsError,
        DatabaseRefused,
        DatabaseUnavailable,
        MappingError,
        MigrationError,
        StartError,
        NotOurMarketplace,
        OtherSimulation,
        psycopg2.Error,  # says what to do: database/errors.py
    )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever a terminal can show, a command ends
    os.environ.update(without_proxy(os.environ))
    try:
        app()
    except told as error:
        sys.exit(plain(f"litgo: {without_credentials(str(error))}"))
    except OSError as error:  # a full disk, a folder that is somebody else's
        place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        sys.exit(plain(f"litgo: {place}{error.strerror or error}"))
