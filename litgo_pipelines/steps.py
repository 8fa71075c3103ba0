"""Shared by steps of several stages: which failures are worth another try, and the instant a step works for."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import ParamSpec, TypeVar

import dagster as dg
import psycopg2
from pydantic import Field

from litgo_pipelines.figures import UNWRITABLE, finite

Metadata = dict[str, dg.MetadataValue | str | float | int | None]  # of one materialisation, by label
Columns = Mapping[str, Sequence[str]]  # column → what it is made of, as asset.column

P = ParamSpec("P")
R = TypeVar("R")

SKEW = timedelta(minutes=2)  # between clocks, tolerated
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # windows of years before an instant stay in the calendar
ACTOR_TAG = "litgo/actor"  # of a run: who asked for it in the web pages, set by the webserver only
UNAUTHENTICATED = "unauthenticated"

RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)

# A bug, a value that cannot be used, a statement that does not fit the database: the next try fails like this one.
PERMANENT = (
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    TypeError,
    ValueError,
    psycopg2.DataError,
    psycopg2.NotSupportedError,
    psycopg2.ProgrammingError,
)


def permanent_fails_once(compute: Callable[P, R]) -> Callable[P, R]:
    """The step, with its permanent failures marked: RETRY tries the others again, never these."""

    @functools.wraps(compute)
    def step(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return compute(*arguments, **named)
        except PERMANENT as error:
            raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from error

    return step


def table_metadata(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> dg.TableMetadataValue:
    """A small table of an asset, with its columns' types as Dagster shows them; `rows` as long as `columns`."""
    records = [dg.TableRecord(dict(zip(columns, map(_cell, row), strict=True))) for row in rows]
    kinds = {name: {type(record.data[name]) for record in records} - {type(None)} for name in columns}
    named = {
        name: "int" if kind == {int} else "float" if kind and kind <= {int, float} else "string"
        for name, kind in kinds.items()
    }
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name, kind) for name, kind in named.items()]))


def _cell(value: object) -> int | float | str | None:
    if isinstance(value, float):
        return finite(value)
    return value if value is None or isinstance(value, int | str) else str(value)


def column_lineage(sources: Columns) -> dg.TableColumnLineage:
    """Where an asset's columns come from, as Dagster shows it."""
    return dg.TableColumnLineage(
        {
            column: [
                dg.TableColumnDep(dg.AssetKey(asset), name) for asset, name in (source.split(".") for source in made_of)
            ]
            for column, made_of in sources.items()
        }
    )


def now() -> datetime:
    """This instant. Sensors, schedules and steps without a given instant ask here, so that a simulation can answer."""
    return datetime.now(UTC)


def not_ahead(instant: datetime, what: str) -> datetime:
    """The instant. Raises Failure, which no retry mends, for one in the future: what has not happened would be decided,
    expired or deleted."""
    if instant > now() + SKEW:
        raise dg.Failure(f"{what} lies in the future: an instant that has passed, please", allow_retries=False)
    return instant


def acting(tags: Mapping[str, str], said: str) -> str:
    """Who acts in a run: whom its web page knew, whatever was typed; else what was typed, marked as nobody's login.

    Empty where neither says anything.
    """
    login, typed = tags.get(ACTOR_TAG, UNAUTHENTICATED), " ".join(said.split())
    if login != UNAUTHENTICATED:
        return login
    return f"{typed} ({UNAUTHENTICATED})" if typed else ""


def example_config(**of: type[dg.Config]) -> dict[str, object]:
    """Run configuration with which the launchpad opens: op → the first example of each field that has some."""
    return {
        "ops": {
            op: {"config": {name: field.examples[0] for name, field in config.model_fields.items() if field.examples}}
            for op, config in of.items()
        }
    }


def require_filled_in(config: dg.Config) -> None:
    """Raises Failure, which no retry mends, where a value still is the launchpad's example, which stands in <>, or
    cannot be written down."""
    given = {name: value.strip() for name, value in config.model_dump().items() if isinstance(value, str)}
    if unfit := [name for name, value in given.items() if UNWRITABLE.search(value)]:
        raise dg.Failure(f"{', '.join(unfit)}: a character that no text can hold, type it anew", allow_retries=False)
    if left := [name for name, value in given.items() if value.startswith("<") and value.endswith(">")]:
        raise dg.Failure(f"still the example: fill in {', '.join(left)}", allow_retries=False)


class AsOfConfig(dg.Config):
    """Unset: when the step starts. Set: for replays, and to repeat what another run did."""

    as_of: str | None = Field(
        default=None,
        description="the instant to work for, ISO 8601 with a zone, like 2026-01-31T02:00:00-03:00; not given: now",
    )

    def given(self) -> datetime | None:
        """The instant that was asked for. Raises Failure, which no retry mends, for none, without a zone or ahead."""
        if self.as_of is None:
            return None
        try:
            instant = datetime.fromisoformat(self.as_of)
        except ValueError as error:
            raise dg.Failure(f"as_of={self.as_of!r} is no ISO 8601 instant", allow_retries=False) from error
        if instant.tzinfo is None:
            raise dg.Failure(f"as_of={self.as_of!r} has no zone: 2026-01-31T02:00:00-03:00", allow_retries=False)
        if instant < EARLIEST:
            raise dg.Failure(f"as_of={self.as_of!r} lies before {EARLIEST:%Y}", allow_retries=False)
        # in UTC, as now() is: a day is the same one in whatever zone it was asked for
        return not_ahead(instant, f"as_of={self.as_of!r}").astimezone(UTC)

    def instant(self) -> datetime:
        """The instant that was asked for, else this one. Raises as `given`."""
        return self.given() or now()
