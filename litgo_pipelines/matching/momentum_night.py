"""Momentum of every lawyer and area as of an instant, written to `litgo.lawyer_momentum`. Knows the database."""

import io
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from litgo_pipelines.arrays import Floats, Ints
from litgo_pipelines.database import Cursor, advisory_lock, sql
from litgo_pipelines.database.arrow import read
from litgo_pipelines.matching.momentum import ContractEvents, Events, Momentum
from litgo_pipelines.matching.statements import PACKAGE
from litgo_pipelines.models.features import MOMENTUM_KEYS, WINDOW_DAYS

if TYPE_CHECKING:
    import pyarrow as pa

OFFERED, ACCEPTED, SIGNED = range(3)  # of the column `what`
LOCK = "momentum"


@dataclass(frozen=True)
class Night:
    """What is known as of an instant: one row per lawyer and area; values (rows, len(MOMENTUM_KEYS))."""

    as_of: datetime
    lawyers: list[str]
    areas: list[str]
    values: Floats
    events: int

    def known(self) -> dict[str, int]:
        """Rows with a value, by feature."""
        return dict(zip(MOMENTUM_KEYS, (~np.isnan(self.values)).sum(axis=0).tolist(), strict=True))


def read_night(cursor: Cursor, as_of: datetime) -> Night:
    """Momentum of each lawyer in each area with an offer or a contract in the window before the instant."""
    import pyarrow as pa

    rows = read(
        cursor,
        sql(PACKAGE, "momentum_events.sql"),
        {"as_of": as_of, "since": as_of - timedelta(days=WINDOW_DAYS)},
        {
            "what": pa.int64(),
            "lawyer_id": pa.string(),
            "area": pa.string(),
            "at": pa.int64(),
            "kind": pa.string(),
            "fee": pa.float64(),
        },
    )
    what, at = rows["what"].to_numpy(), rows["at"].to_numpy()
    lawyer, lawyers = _codes(rows["lawyer_id"])
    area, areas = _codes(rows["area"])
    kind, _ = _codes(rows["kind"])
    fee = rows["fee"].to_numpy()
    known_fee = np.where((fee > 0) & np.isfinite(fee), fee, np.nan)

    def events(number: int) -> Events:
        some = what == number
        return Events(lawyer[some], area[some], at[some])

    some = what == SIGNED
    signed = ContractEvents(lawyer[some], area[some], at[some], np.log(known_fee[some]), kind[some])
    momentum = Momentum(events(OFFERED), events(ACCEPTED), signed, len(areas))
    pairs = np.unique(np.stack([lawyer, area], axis=1)[area >= 0], axis=0)
    instant = np.full(len(pairs), int(as_of.timestamp()))
    values = momentum.features(pairs[:, 0], pairs[:, 1], instant)
    return Night(
        as_of, [lawyers[code] for code in pairs[:, 0]], [areas[code] for code in pairs[:, 1]], values, len(what)
    )


def refresh(cursor: Cursor, as_of: datetime) -> Night:
    """Replace the table by what is known as of the instant, in the caller's transaction; a newer night's rows stay."""
    advisory_lock(cursor, LOCK)
    night = read_night(cursor, as_of)
    cursor.execute("SELECT max(as_of) > %s FROM litgo.lawyer_momentum", (as_of,))
    if cursor.fetchone()[0]:
        return night
    cursor.execute("DELETE FROM litgo.lawyer_momentum WHERE true")
    text = io.StringIO()
    for lawyer, area, row in zip(night.lawyers, night.areas, night.values.tolist(), strict=True):
        quoted = area.replace('"', '""')
        text.write(f'{lawyer},"{quoted}",{as_of.isoformat()},')
        text.write(",".join("" if value != value else repr(value) for value in row) + "\n")
    text.seek(0)
    columns = ", ".join(("lawyer_id", "area", "as_of", *MOMENTUM_KEYS))
    cursor.execute("CREATE TEMPORARY TABLE night (LIKE litgo.lawyer_momentum) ON COMMIT DROP")
    cursor.copy_expert(f"COPY night ({columns}) FROM STDIN (FORMAT csv)", text)
    cursor.execute("INSERT INTO litgo.lawyer_momentum SELECT * FROM night")
    cursor.execute("DROP TABLE night")
    return night


def _codes(column: "pa.ChunkedArray") -> tuple[Ints, list[str]]:
    """(code of each value, -1 for a null; the values by code)."""
    encoded = column.combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, encoded.dictionary.to_pylist()
