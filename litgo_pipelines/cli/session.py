"""Helpers shared by the commands: a marketplace transaction, and the person who decides with their reason."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.runtime.supervisor import platform

if TYPE_CHECKING:
    from litgo_pipelines.database import Cursor

Who = Annotated[str, typer.Option(help="who decides")]
Why = Annotated[str, typer.Option(help="the reason, kept in the ledger")]


def acting(who: str) -> str:
    """Who acts in a command: the name given, with the login of the shell, which no argument changes."""
    return f"{' '.join(who.split())} (shell: {getpass.getuser()})" if who.strip() else ""


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
