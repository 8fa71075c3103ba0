"""Values as the client reads and writes them: what the other side cannot hold is absent, never an error for others."""

import json
from collections.abc import Callable
from typing import Any

from psycopg2 import extensions
from psycopg2.extras import register_default_json, register_default_jsonb

from litgo_pipelines.database.errors import CleanConnection

LONGEST_NUMBER = 400  # digits; a double ends at 309


def _in_calendar(read: Callable[[str, Any], Any]) -> Callable[[str | None, Any], Any]:
    """Infinite instants, years before Christ and after 9999 are None. psycopg2 gives some of them a number."""

    def cast(value: str | None, cursor: Any) -> Any:
        if value is None or not value[0].isdigit() or value.endswith("BC") or value.find("-") != 4:
            return None
        try:
            return read(value, cursor)
        except (ValueError, OverflowError):
            return None

    return cast


def _whole(digits: str) -> int | float:
    """Python refuses to read whole numbers of thousands of digits."""
    return int(digits) if len(digits) <= LONGEST_NUMBER else float("-inf" if digits.startswith("-") else "inf")


def read_json(text: str) -> Any:
    """JSON as Postgres keeps it; None for what is nested too deeply to be read."""
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError:
        return None


def as_json(value: object) -> str:
    """JSON as Postgres takes it: what is no number, or is infinite, becomes null, where Python writes NaN."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(value), parse_constant=lambda name: None))


_KINDS = [
    (extensions.new_type(read.values, name, _in_calendar(read)), array)
    for name, read, array in (
        ("INSTANT", extensions.PYDATETIMETZ, 1185),
        ("LOCAL_INSTANT", extensions.PYDATETIME, 1115),
        ("DAY", extensions.PYDATE, 1182),
    )
]
_KINDS_AND_ARRAYS = [
    kind for each, array in _KINDS for kind in (each, extensions.new_array_type((array,), f"{each.name}S", each))
]


def register(connection: CleanConnection) -> None:
    """Read values so on this connection; others in the process keep their ways."""
    for each in _KINDS_AND_ARRAYS:
        extensions.register_type(each, connection)
    register_default_json(connection, loads=read_json)
    register_default_jsonb(connection, loads=read_json)
