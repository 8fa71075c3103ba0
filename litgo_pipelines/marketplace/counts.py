"""Counts of the source views against those of the last good night.

Seeing no rows is not there being none: a table that lost more than half of its rows stops what would follow from it
until a person says that it is right.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from litgo_pipelines.database import Cursor
from litgo_pipelines.marketplace.schema import TABLES

FEW = 20  # rows: below, a fall says nothing
NIGHT = timedelta(hours=20)  # until counts of another night stand for these


DECIDING = ("lawyers", "cases", "offers", "contracts")  # what matching takes for there not being, when it is gone


@dataclass(frozen=True)
class Count:
    rows: int
    counted_at: datetime


@dataclass(frozen=True)
class Gone:
    """A table that lost more than half of its rows since the last good night."""

    table: str
    rows: int
    good: Count

    def __str__(self) -> str:
        return str(fall(self.table, self.rows, self.good))


def fall(table: str, rows: int, good: Count | None) -> str | None:
    """A sentence for a person; None when the count is as it may be."""
    if good is None or good.rows < FEW or 2 * rows >= good.rows:
        return None
    return (
        f"{table} has {rows:,} rows, {good.rows:,} on {good.counted_at:%Y-%m-%d %H:%M} UTC: more than half are gone or "
        "hidden. Nothing is computed on them until a person has looked; if it is right: `litgo doctor --accept-counts`"
    )


def count(cursor: Cursor, tables: Collection[str] = tuple(TABLES)) -> dict[str, int]:
    """Rows of each view, as this user sees them."""
    cursor.execute("SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in tables))
    return dict(zip(tables, cursor.fetchone() or (), strict=True))


def gone(cursor: Cursor) -> list[Gone]:
    """Of the tables that decide who is offered what, those that a person has to look at first.

    Counts no further than says that a table is there: of millions of rows that takes long, and every matching asks.
    """
    good = last_good(cursor)
    known = {table: good[table] for table in DECIDING if table in good}
    if not known:
        return []
    cursor.execute(
        "SELECT " + ", ".join(f"(SELECT count(*) FROM (SELECT FROM {table} LIMIT %s) AS there)" for table in known),
        [(before.rows + 1) // 2 for before in known.values()],
    )
    rows = dict(zip(known, cursor.fetchone() or (), strict=True))
    return [Gone(table, rows[table], before) for table, before in known.items() if fall(table, rows[table], before)]


def last_good(cursor: Cursor) -> dict[str, Count]:
    cursor.execute("SELECT table_name, rows, counted_at FROM litgo.source_counts")
    return {table: Count(rows, counted_at) for table, rows, counted_at in cursor.fetchall()}


def keep(cursor: Cursor, rows: Mapping[str, int], at: datetime) -> None:
    """Counts that are good. Those of one night stay as they were first, so that no fall goes by in small steps."""
    _write(cursor, rows, at, "WHERE s.counted_at <= excluded.counted_at - %(night)s OR excluded.rows > s.rows")


def accept(cursor: Cursor, at: datetime) -> dict[str, int]:
    """A person says that what is there is right."""
    rows = count(cursor)
    _write(cursor, rows, at, "")
    return rows


def _write(cursor: Cursor, rows: Mapping[str, int], at: datetime, condition: str) -> None:
    cursor.execute(
        "INSERT INTO litgo.source_counts AS s (table_name, rows, counted_at) "
        "SELECT u.*, %(at)s FROM unnest(%(tables)s::text[], %(rows)s::bigint[]) AS u "
        "ON CONFLICT (table_name) DO UPDATE SET rows = excluded.rows, counted_at = excluded.counted_at " + condition,
        {"tables": list(rows), "rows": list(rows.values()), "at": at, "night": NIGHT},
    )
