"""`litgo doctor`: whether a database of yours would serve, and what mapping it needs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from litgo_pipelines.cli.session import AsJson, say, show, writable
from litgo_pipelines.runtime.supervisor import as_it_stands
from litgo_pipelines.settings import SettingsError

app = typer.Typer()


def _new_file(path: Path | None) -> Path | None:
    if path is not None and path.exists():
        raise typer.BadParameter(f"{path} is there already: name another file, or move it away")
    return path and writable(path)


@app.command()
def doctor(
    write_mapping: Annotated[
        Path | None, typer.Option(help="write the proposed mapping into this file", metavar="FILE", callback=_new_file)
    ] = None,
    as_json: AsJson = False,
    accept_counts: Annotated[
        bool, typer.Option("--accept-counts", help="rows missing since the last good night were meant to go")
    ] = False,
) -> None:
    """Try whether the pipelines would work on the database, changing nothing. Exit code 1: something would fail."""
    from litgo_pipelines.lifecycle import seal
    from litgo_pipelines.marketplace import doctor as examining

    environment = as_it_stands()
    if environment is None:
        raise SettingsError("LITGO_DATABASE_URL is not set, and no embedded server runs: doctor looks at a database")
    url = environment["LITGO_DATABASE_URL"]
    if accept_counts:
        _accept_counts(url)
        return
    report = examining.examine(url)
    report.notes += [
        f"no entry of the ledger names the file of model version {version}, so it does not serve: "
        f"litgo model seal {version}"
        for version in seal.unsealed_in(url) or ()
    ]
    if write_mapping is not None:
        write_mapping.write_text(report.proposal, encoding="utf-8")
    show(report.as_dict(), as_json, lambda: examining.text(report))
    if write_mapping is not None:
        say(f"\nwritten: {write_mapping}; check it, then set LITGO_MARKETPLACE_MAPPING={write_mapping}", err=as_json)
    raise typer.Exit(1 if report.failures else 0)


def _accept_counts(url: str) -> None:
    from litgo_pipelines.database import connect
    from litgo_pipelines.marketplace import counts

    with connect(url) as connection, connection.cursor() as cursor:
        rows = counts.accept(cursor, datetime.now(UTC))
    say("taken as right: " + ", ".join(f"{table} {number:,}" for table, number in rows.items()))
