"""Helpers shared by the commands: output, a marketplace transaction, and the person who decides with their reason."""

import getpass
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.figures import finite
from litgo_pipelines.marketplace.ids import identifier
from litgo_pipelines.runtime.supervisor import platform

if TYPE_CHECKING:
    from litgo_pipelines.database import Cursor


_LOST = re.compile("[\ud800-\udfff]")  # a byte of an argument that is no UTF-8, which nothing can be written with


def _an_id(refused: str) -> Callable[[str], str]:
    """A parser of ids; what is none is answered with `refused` and an example."""

    def parse(value: str) -> str:
        try:
            return identifier(value)
        except ValueError:
            raise typer.BadParameter(f"{value!r} {refused} 123e4567-e89b-12d3-a456-426614174000") from None

    return parse


def _not_blank(refused: str) -> Callable[[str], str]:
    """A parser of texts; a blank one, or bytes that are no UTF-8, are answered with `refused`."""

    def parse(value: str) -> str:
        if not value.strip() or _LOST.search(value):
            raise typer.BadParameter(refused)
        return value

    return parse


def _version(value: str) -> str:
    number = value.strip()
    if not re.fullmatch("[1-9][0-9]{0,8}", number):
        raise typer.BadParameter(f"{value!r} is no version, which is a number: `litgo model show` lists them")
    return number


def read_text(path: Path) -> str:
    """The text of a file that an argument names. Raises BadParameter."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{path}: não é texto em UTF-8") from None
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}") from None


def writable(path: Path) -> Path:
    """A file that is to be written, before anything is done for it. Raises BadParameter."""
    folder = path.resolve().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise typer.BadParameter(f"{path} cannot be written: name a file in a folder that is there and is yours")
    return path


_id = _an_id("is no id, which looks like")
_identificador = _an_id("não é um identificador, que se escreve como")
_name = _not_blank("it is empty, or no UTF-8: what is decided is kept with who decided it, and why")
nome = _not_blank("está vazio, ou não é UTF-8: o que se registra fica com o nome de quem registra")

Who = Annotated[str, typer.Option(help="who decides", metavar="NAME", parser=_name)]
Why = Annotated[str, typer.Option(help="the reason, kept in the ledger", metavar="TEXT", parser=_name)]
AsJson = Annotated[bool, typer.Option("--json", help="as JSON, for programs: nothing else on stdout")]
Version = Annotated[
    str, typer.Argument(help="number of a model version: `litgo model show`", metavar="VERSION", parser=_version)
]
CaseId = Annotated[str, typer.Argument(help="id of a case", metavar="CASE_ID", parser=_id)]
Caso = Annotated[str, typer.Argument(help="identificador do caso", metavar="CASO", parser=_identificador)]
Contrato = Annotated[str, typer.Argument(help="identificador do contrato", metavar="CONTRATO", parser=_identificador)]
Titular = Annotated[
    str,
    typer.Argument(help="identificador de cliente ou advogado(a)", metavar="IDENTIFICADOR", parser=_identificador),
]
Por = Annotated[str, typer.Option(help="quem decide", metavar="NOME", parser=nome)]

# Control characters, changes of writing direction, other line ends, invisible tags.
UNSHOWN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e007f]"
)


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
    say(UNSHOWN.sub(lambda match: json.dumps(match[0])[1:-1], written))


def _jsonable(value: object) -> object:
    """Instants and days in ISO 8601, numbers as numbers; null for what is none."""
    if isinstance(value, str | bool | int | None):
        return value
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return int(value)
    if isinstance(value, float | Decimal):
        return finite(float(value))
    if isinstance(value, datetime | date):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return _jsonable({field.name: getattr(value, field.name) for field in fields(value)})
    if isinstance(value, Mapping):
        return {str(key): _jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(each) for each in value]
    return str(value)


def acting(who: str) -> str:
    """Who acts in a command: the name given, with the login of the shell, which no argument changes."""
    return f"{' '.join(who.split())} (shell: {login()})" if who.strip() else ""


def login() -> str:
    """Of the shell; the number where it has no name, as in containers that run under any."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


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
