"""Availability history: when each lawyer could be offered a case, and the share of the demand that came meanwhile.

Seen nightly and at matching, and written down where it changed. Every function works in the caller's transaction. Knows
the database, not Dagster; the share itself: `share.py`.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Floats
from litgo_pipelines.database import Cursor, advisory_lock, sql
from litgo_pipelines.database.arrow import read
from litgo_pipelines.equity.share import SEPARATOR, Demand, Stretches, pool_name, shares
from litgo_pipelines.marketplace.geo import nearest_state
from litgo_pipelines.settings import settings

PACKAGE = "litgo_pipelines.equity"
DAYS = 30
DAY = timedelta(hours=24)


NUMBERS = "litgo.placed(point(litgo.number(l.lng), litgo.number(l.lat)))"
_SHARED = {
    # the point, else latitude and longitude as numbers
    "{lawyer_place}": f"coalesce(litgo.placed(l.geo_latlon), {NUMBERS})",
    "{case_place}": "coalesce(litgo.placed(c.coords), litgo.placed(point(litgo.number(c.lng), litgo.number(c.lat))))",
}


class Arrivals(NamedTuple):
    """Cases as columns, shape (n,)."""

    area: NDArray[np.object_]
    lat: Floats  # degrees; NaN without a place
    lng: Floats
    at: Floats  # seconds since the epoch


def filled(text: str) -> str:
    """A statement with the conditions that several share filled in: who could be offered a case, where somebody is."""
    for mark, part in (("{available}", "available.sql"), ("{open_cases}", "open_cases.sql")):
        if mark in text:
            text = text.replace(mark, sql(PACKAGE, part))
    for mark, part in _SHARED.items():
        text = text.replace(mark, part)
    return text.replace("{offer_hours}", str(settings().offer_hours))


def record(cursor: Cursor, as_of: datetime) -> int:
    """Who could be offered a case, as seen at the instant; how many could not before."""
    advisory_lock(cursor, "availability")  # two at once would wait for each other's rows
    cursor.execute(filled(sql(PACKAGE, "availability.sql")), {"as_of": as_of})
    return int(cursor.fetchone()[0])


def record_accounts(cursor: Cursor) -> None:
    """Which accounts are those of one lawyer; looked for again when something they follow from has changed.

    Every matching asks. Reading every lawyer's number takes ten times as long as seeing that it is as it was.
    """
    advisory_lock(cursor, "availability")
    seen = sql(PACKAGE, "accounts_seen.sql")
    cursor.execute(f"SELECT 1 FROM litgo.accounts_seen WHERE fingerprint = ({seen})")
    if cursor.fetchone():
        return
    cursor.execute(sql(PACKAGE, "accounts.sql"))
    cursor.execute(
        f"INSERT INTO litgo.accounts_seen (fingerprint) {seen} "
        "ON CONFLICT (singleton) DO UPDATE SET fingerprint = excluded.fingerprint"
    )


def window(as_of: datetime, days: int = DAYS) -> tuple[float, float]:
    return (as_of - days * DAY).timestamp(), as_of.timestamp()


def pools(area: NDArray[np.object_], lat: Floats, lng: Floats) -> NDArray[np.str_]:
    """The pool of each lawyer or case, shape (n,), as a name."""
    states = nearest_state(lat, lng)
    return np.array([pool_name(name or "", state) for name, state in zip(area, states, strict=True)], dtype=np.str_)


def read_stretches(cursor: Cursor, as_of: datetime, days: int = DAYS) -> Stretches:
    """Of the window before the instant. Accounts of one lawyer have the stretches of all of them."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    rows = read(
        cursor,
        filled(sql(PACKAGE, "stretches.sql")),
        {"as_of": as_of, "days": days},
        {"lawyer_id": text, "person": text, "area": text, **dict.fromkeys(("lat", "lng", "starts", "ends"), number)},
    )
    c = {name: rows[name].to_numpy(zero_copy_only=False) for name in rows.column_names}
    lawyers, first = np.unique(c["lawyer_id"].astype(np.str_), return_index=True)
    persons, person = np.unique(c["person"][first].astype(np.str_), return_inverse=True)
    real = np.isfinite(c["starts"])
    of_person = np.searchsorted(persons, c["person"][real].astype(np.str_))
    # every stretch of a person once for each of the person's accounts
    order = np.argsort(of_person, kind="stable")
    count = np.bincount(of_person, minlength=len(persons))
    begins = np.cumsum(count) - count
    of = np.repeat(np.arange(len(lawyers)), count[person])
    within = np.arange(len(of)) - np.repeat(np.cumsum(count[person]) - count[person], count[person])
    picked = order[begins[person[of]] + within]
    return Stretches(
        lawyers.tolist(),
        pools(c["area"][first], c["lat"][first], c["lng"][first]),
        of,
        c["starts"][real][picked],
        c["ends"][real][picked],
    )


def read_cases(cursor: Cursor, starts: datetime, ends: datetime) -> Arrivals:
    """The cases that arrived between two instants."""
    import pyarrow as pa

    number = pa.float64()
    rows = read(
        cursor,
        filled(sql(PACKAGE, "distribution_cases.sql")),
        {"starts": starts, "as_of": ends},
        {"area": pa.string(), "lat": number, "lng": number, "at": number},
    )
    return Arrivals(*(rows[name].to_numpy(zero_copy_only=False) for name in Arrivals._fields))


def demand_of(cases: Arrivals) -> Demand:
    """Cases one by one, as `read_cases` returns them."""
    names = pools(cases.area, cases.lat, cases.lng)
    return Demand(names, cases.at, cases.at + 1.0, np.ones(len(names)))


def store_demand(cursor: Cursor, as_of: datetime, demand: Demand) -> None:
    """Keep a night's demand by pool and day for what comes after it, unless a later night's is there."""
    advisory_lock(cursor, "demand")
    cursor.execute(
        "INSERT INTO litgo.demand_night AS n (as_of) VALUES (%s) "
        "ON CONFLICT (singleton) DO UPDATE SET as_of = excluded.as_of WHERE n.as_of <= excluded.as_of RETURNING 1",
        (as_of,),
    )
    if cursor.fetchone() is None:
        return
    starts = window(as_of)[0]
    day = ((demand.starts - starts) // 86_400).astype(np.int64)
    names, number = np.unique(demand.pool, return_inverse=True)
    cells, counts = np.unique(np.stack([day, number]), axis=1, return_counts=True)
    areas, states = (
        zip(*(name.rsplit(SEPARATOR, 1) for name in names.tolist()), strict=True) if len(names) else ((), ())
    )
    cursor.execute("DELETE FROM litgo.pool_demand WHERE true")
    cursor.execute(
        sql(PACKAGE, "store_demand.sql"),
        (as_of, cells[0].tolist(), [areas[k] for k in cells[1]], [states[k] for k in cells[1]], counts.tolist()),
    )


def read_demand(cursor: Cursor, as_of: datetime) -> Demand:
    """The window's cases: by day as far as the newest night counted them, and one by one since then."""
    import pyarrow as pa

    starts = as_of - DAYS * DAY
    cursor.execute("SELECT as_of FROM litgo.demand_night WHERE as_of BETWEEN %s AND %s", (starts, as_of))
    night = cursor.fetchone()
    new = demand_of(read_cases(cursor, night[0] if night else starts, as_of))
    if not night:
        return new
    text, number = pa.string(), pa.float64()
    rows = read(
        cursor,
        "SELECT area || %(separator)s || state AS pool, extract(epoch FROM starts)::float8 AS starts, "
        "extract(epoch FROM ends)::float8 AS ends, cases::float8 AS cases "
        "FROM litgo.pool_demand WHERE ends > %(starts)s",
        {"starts": starts, "separator": SEPARATOR},
        {"pool": text, "starts": number, "ends": number, "cases": number},
    )
    counted = {name: rows[name].to_numpy(zero_copy_only=False) for name in rows.column_names}
    return Demand(
        np.concatenate([counted["pool"].astype(np.str_), new.pool]),
        np.concatenate([counted["starts"], new.starts]),
        np.concatenate([counted["ends"], new.ends]),
        np.concatenate([counted["cases"], new.cases]),
    )


def read_shares(cursor: Cursor, as_of: datetime) -> tuple[Stretches, Floats]:
    """(who could not be offered cases all the time, the share of each of them)."""
    stretches = read_stretches(cursor, as_of)
    if not len(stretches.lawyers):
        return stretches, np.empty(0)
    return stretches, shares(stretches, read_demand(cursor, as_of), window(as_of))


def shares_of(ids: list[str], stretches: Stretches, found: Floats) -> Floats:
    """The share of each of some lawyers, shape (n,): 1 for who was there all the time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    row = pc.index_in(pa.array(ids, pa.string()), value_set=pa.array(stretches.lawyers, pa.string()))
    at = row.fill_null(-1).to_numpy()
    return np.where(at >= 0, np.append(found, 1.0)[at], 1.0)
