"""Load of one night: run `load.sql` and read a night back for the metrics. Knows the database, not Dagster."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime

import numpy as np
from psycopg2.extensions import AsIs

from litgo_pipelines.database import Connection, Cursor, advisory_lock, piecewise, sql
from litgo_pipelines.database.arrow import read
from litgo_pipelines.database.values import as_json
from litgo_pipelines.equity import availability
from litgo_pipelines.equity.availability import filled
from litgo_pipelines.equity.capacity import CapacityRules, steps_sql
from litgo_pipelines.equity.distribution import Cases, Distribution, Lawyers
from litgo_pipelines.equity.share import shares

EVERYBODY = "everybody"


@dataclass(frozen=True)
class NightResult:
    night: date
    rows_read: int  # lawyers computed
    rows_changed: int  # history rows written or dropped
    lawyers_changed: int  # rows of `lawyers` written back
    refused: dict[str, str]  # lawyers whose row took nothing: why
    seconds: float

    def as_dict(self) -> dict[str, object]:
        figures = {name: value for name, value in asdict(self).items() if name != "refused"}
        return {
            **figures,
            "night": self.night.isoformat(),
            "lawyers_refused": len(self.refused),
            "seconds": round(self.seconds, 3),
        }


def run_night(connection: Connection, night: date, as_of: datetime, rules: CapacityRules) -> NightResult:
    """Compute and write one night, in the connection's transaction; waits while another run computes a night."""
    started = time.monotonic()
    with connection.cursor() as cursor:
        advisory_lock(cursor, "equity")
        cursor.execute("SET LOCAL work_mem = '64MB'")  # the aggregates of 100,000 lawyers stay in memory
        cursor.execute(
            _statement(cursor),
            {
                "base": rules["base"],
                "minimum": rules["minimum"],
                "maximum": rules["maximum"],
                "night": night,
                "as_of": as_of,
                "years_points": AsIs(steps_sql("y.years", rules["years"])),
                "success_rate_points": AsIs(steps_sql("p.success_rate", rules["success_rate"])),
                "firm_size": json.dumps(rules["firm_size"]),
            },
        )
        lawyers, history = cursor.fetchone()
        changed, refused = write_back(cursor, night, as_of)
    return NightResult(night, lawyers, history, changed, refused, time.monotonic() - started)


def _statement(cursor: Cursor) -> str:
    """`load.sql`, looking up earlier offers by the index, where the marketplace's columns allow that one."""
    cursor.execute(
        "SELECT EXISTS (SELECT FROM litgo.source_indexes s JOIN pg_index i ON i.indexrelid = s.index_oid "
        "WHERE s.name = 'litgo_offers_of_lawyer' AND i.indisvalid)"
    )
    (there,) = cursor.fetchone()
    scan = sql("litgo_pipelines.equity", "before_by_scan.sql")
    parts = {
        "{before}": "" if there else scan,
        "{join_before}": "" if there else "LEFT JOIN before b ON b.lawyer_id = c.id",
        "{last_before}": sql("litgo_pipelines.equity", "before_by_index.sql").strip() if there else "b.last_offered_at",
    }
    text = sql("litgo_pipelines.equity", "load.sql")
    for mark, part in parts.items():
        text = text.replace(mark, part)
    return text


def write_back(cursor: Cursor, night: date, as_of: datetime) -> tuple[int, dict[str, str]]:
    """Show the night in the marketplace: (rows changed, lawyer → why the row was refused).

    One statement for all. A row that a trigger or a check refuses, or that another session holds, stays as it is until
    the next night; the history has its figures all the same.
    """
    statement, parameters = sql("litgo_pipelines.equity", "write_back.sql"), {"night": night, "as_of": as_of}

    def write(cursor: Cursor, ids: Sequence[str]) -> int:
        cursor.execute(statement, {**parameters, "ids": None if EVERYBODY in ids else list(ids)})
        return cursor.rowcount

    changed, refused = piecewise(cursor, [EVERYBODY], write)
    if not refused:
        return changed, {}
    cursor.execute("SELECT lawyer_id::text FROM litgo.equity_history WHERE night = %s ORDER BY 1", (night,))
    return piecewise(cursor, [lawyer for (lawyer,) in cursor.fetchall()], write)


def record_night(connection: Connection, night: date, as_of: datetime) -> None:
    """Who can be offered cases, and which accounts are one lawyer's, as the newest night sees it.

    Of earlier nights the marketplace does not show it any more.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM litgo.equity_history WHERE night > %s LIMIT 1", (night,))
        if cursor.rowcount == 0:
            availability.record(cursor, as_of)
            availability.record_accounts(cursor)


def read_window(connection: Connection, night: date, as_of: datetime) -> tuple[Lawyers, Cases]:
    """The lawyers of a night with their offers of the window, and the window's cases, as columns.

    Keeps the demand of the newest night for what is matched after it.
    """
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    with connection.cursor() as cursor:
        pairs = read(
            cursor,
            filled(sql("litgo_pipelines.equity", "distribution_lawyers.sql")),
            {"night": night},
            {
                "id": text,
                "primary_area": text,
                "lat": number,
                "lng": number,
                "capacity": number,
                "offers": number,
                "area": text,
            },
        )
        cases = availability.read_cases(cursor, as_of - availability.DAYS * availability.DAY, as_of)
        demand = availability.demand_of(cases)
        availability.store_demand(cursor, as_of, demand)
        stretches = availability.read_stretches(cursor, as_of)
    found = shares(stretches, demand, availability.window(as_of))
    identity = pairs["id"].to_numpy(zero_copy_only=False)
    first = np.ones(len(identity), dtype=bool)
    first[1:] = identity[1:] != identity[:-1]
    columns = {name: pairs[name].to_numpy(zero_copy_only=False) for name in pairs.column_names}
    has_area = np.array([area is not None for area in columns["area"].tolist()], dtype=bool)
    lawyers = Lawyers(
        **{name: columns[name][first] for name in ("primary_area", "lat", "lng", "capacity", "offers")},
        active_share=availability.shares_of(identity[first].tolist(), stretches, found),
        area_of=(np.cumsum(first) - 1)[has_area],
        area=columns["area"][has_area],
    )
    return lawyers, Cases(cases.area, cases.lat, cases.lng)


def store_distribution(connection: Connection, night: date, as_of: datetime, figures: Distribution) -> None:
    row = {**figures, "night": night, "as_of": as_of, "pools": as_json(figures["pools"])}
    columns = ", ".join(row)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO litgo.offer_distribution ({columns}) VALUES ({', '.join(f'%({c})s' for c in row)}) "
            f"ON CONFLICT (night) DO UPDATE SET ({columns}) = ({', '.join(f'excluded.{c}' for c in row)})",
            row,
        )
