"""Helpers shared by the commands: output, a marketplace transaction, and the person who decides with their reason."""

import getpass
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.runtime.supervisor import platform

if TYPE_CHECKING:
    from litgo_pipelines.database import Cursor

Who = Annotated[str, typer.Option(help="who decides", metavar="NAME")]
Why = Annotated[str, typer.Option(help="the reason, kept in the ledger", metavar="TEXT")]
AsJson = Annotated[bool, typer.Option("--json", help="as JSON, for programs: nothing else on stdout")]
Version = Annotated[str, typer.Argument(help="number of a model version: `litgo model show`", metavar="VERSION")]
CaseId = Annotated[str, typer.Argument(help="id of a case", metavar="CASE_ID")]
Caso = Annotated[str, typer.Argument(help="identificador do caso", metavar="CASO")]
Contrato = Annotated[str, typer.Argument(help="identificador do contrato", metavar="CONTRATO")]
Titular = Annotated[str, typer.Argument(help="identificador de cliente ou advogado(a)", metavar="IDENTIFICADOR")]
Por = Annotated[str, typer.Option(help="quem decide", metavar="NOME")]

UNSHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def plain(text: object) -> str:
    """As a terminal may show it: what a title, a name or an error holds moves no cursor and colours nothing."""
    return UNSHOWN.sub("\N{REPLACEMENT CHARACTER}", str(text).replace("\r\n", "\n"))


def say(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """One piece of output, for people or a pipe."""
    typer.echo(plain(text), err=err, nl=nl)


def show(found: object, as_json: bool, text: Callable[[], object]) -> None:
    """What a command found: as JSON where a program asks, else as `text()` says it to people."""
    if not as_json:
        say(text())
        return
    written = json.dumps(_jsonable(found), ensure_ascii=False, indent=2, allow_nan=False)
    say(UNSHOWN.sub(lambda match: f"\\u{ord(match[0]):04x}", written))


def _jsonable(value: object) -> object:
    """Instants and days in ISO 8601, numbers as numbers; null for what is none."""
    if isinstance(value, str | bool | int | None):
        return value
    if isinstance(value, float | Decimal):
        return _number(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return _jsonable({field.name: getattr(value, field.name) for field in fields(value)})
    if isinstance(value, Mapping):
        return {str(key): _jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(each) for each in value]
    return str(value)


def _number(value: float | Decimal) -> float | int | None:
    if not math.isfinite(value):
        return None
    return int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else float(value)


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
