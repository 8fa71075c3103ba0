"""Helpers shared by the commands: a marketplace transaction, and the person who decides with their reason."""

import getpass
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.runtime.supervisor import platform

if TYPE_CHECKING:
    from litgo_pipelines.database import Cursor

Who = Annotated[str, typer.Option(help="who decides")]
Why = Annotated[str, typer.Option(help="the reason, kept in the ledger")]


UNSHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def plain(text: object) -> str:
    """As a terminal may show it: what a title, a name or an error holds moves no cursor and colours nothing."""
    return UNSHOWN.sub("\N{REPLACEMENT CHARACTER}", str(text).replace("\r\n", "\n"))


def say(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """One piece of output, for people or a pipe."""
    typer.echo(plain(text), err=err, nl=nl)


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
