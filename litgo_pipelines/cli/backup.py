"""Commands that back up what is ours, and restore it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.cli.session import say
from litgo_pipelines.runtime.supervisor import platform
from litgo_pipelines.settings import settings

if TYPE_CHECKING:
    from litgo_pipelines.backup.make import Databases

app = typer.Typer()


@app.command()
def backup(folder: Annotated[Path, typer.Argument(help="where it is written", metavar="FOLDER")]) -> None:
    """Write an encrypted backup to FOLDER: our schema, Dagster's and MLflow's databases, snapshots, models."""
    from litgo_pipelines.backup import make

    secret = make.passphrase()
    with platform() as environment:
        home = Path(environment["LITGO_HOME"])
        files = make.places(home, settings().mlflow_artifacts)
        made = make.backup(_databases(environment), home, folder.resolve(), secret, datetime.now(UTC), files)
    say(made)


@app.command()
def restore(
    backup: Annotated[Path, typer.Argument(help="a backup, or a folder of them", metavar="BACKUP")],
    older: Annotated[bool, typer.Option("--older", help="also a backup of an older version; it is migrated")] = False,
    force: Annotated[bool, typer.Option("--force", help="even while something else uses the databases")] = False,
) -> None:
    """Replace what is there by a backup, or the newest of a folder. Stop `litgo up` first."""
    from litgo_pipelines.backup import make
    from litgo_pipelines.backup import restore as restoring

    secret, folder = make.passphrase(), restoring.newest(backup.resolve())
    with platform() as environment:
        home = Path(environment["LITGO_HOME"])
        done = restoring.restore(
            folder,
            _databases(environment),
            home,
            secret,
            datetime.now(UTC),
            make.places(home, settings().mlflow_artifacts),
            older=older,
            force=force,
        )
    say(f"restored {folder.name}, made {done.manifest.created_at}")
    if done.erased:
        say(f"erased again: {done.erased} rows and files of people who were erased since")


def _databases(environment: dict[str, str]) -> "Databases":
    from litgo_pipelines.backup.make import Databases

    names = ("LITGO_DATABASE_URL", "DAGSTER_DATABASE_URL", "LITGO_MLFLOW_DATABASE_URL")
    return Databases(*(environment[name] for name in names))
