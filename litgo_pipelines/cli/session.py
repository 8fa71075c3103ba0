"""Helpers shared by the commands: a marketplace transaction, and the person who decides with their reason."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.runtime.supervisor import platform

if TYPE_CHECKING:
    from litgo_pipelines.database import Cursor

Who = Annotated[str, typer.Option(help="who decides")]
Why = Annotated[str, typer.Option(help="the reason, kept in the ledger")]


@contextmanager
def marketplace() -> Iterator["Cursor"]:
    """A cursor in one transaction."""
    from litgo_pipelines.database import connect

    with (
        platform() as environment,
        connect(environment["LITGO_DATABASE_URL"]) as connection,
        connection.cursor() as cursor,
    ):
        yield cursor
