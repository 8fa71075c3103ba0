"""Deletions in the marketplace, followed; what is erased stays erased.

Seeing nothing is not being nothing: an id counts as deleted after several nights on which every table was as it should
be, and a whole lot at once waits for a person.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from litgo_pipelines.database import Cursor, sql
from litgo_pipelines.marketplace import access, counts
from litgo_pipelines.persons import keys as found
from litgo_pipelines.persons.held import KNOWN
from litgo_pipelines.persons.keys import OURSELVES, PACKAGE, Keys

LOOKS = 3  # nights on which an id was missed
PATIENCE = timedelta(hours=44)  # from the first of them to the last
FEW = 20  # ids at once
SHARE = 0.02  # of those we know; more than both waits for a person
# Where the marketplace shows an id of the kind.
SHOWN = {
    "person": (
        "SELECT id FROM profiles UNION SELECT id FROM lawyers UNION SELECT client_id FROM cases "
        "UNION SELECT client_id FROM contracts UNION SELECT lawyer_id FROM contracts"
    ),
    "case": "SELECT id FROM cases",
    "contract": "SELECT id FROM contracts",
    "review": "SELECT id FROM reviews",
}


class Hidden(RuntimeError):
    """The marketplace may be showing less than there is; nothing was followed, and the message says why."""


@dataclass(frozen=True)
class Missing:
    """`known`: kind → ids we hold; `missed`: of them, not shown now; `due`: kind → ids that count as deleted."""

    known: Mapping[str, int] = field(default_factory=dict)
    missed: Mapping[str, int] = field(default_factory=dict)
    due: Mapping[str, list[str]] = field(default_factory=dict)


def look(cursor: Cursor, at: datetime) -> Missing:
    """Note what is missed tonight and what is back; say what counts as deleted. Raises Hidden."""
    _everything_shows(cursor)
    known, missed, due = {}, {}, {}
    for kind, shown in SHOWN.items():
        union = " UNION ".join(f"SELECT {column} AS id FROM litgo.{table}" for table, column in KNOWN[kind])
        cursor.execute(
            sql("litgo_pipelines.persons", "gone.sql").replace("{union}", union).replace("{shown}", shown),
            {"ours": sorted(OURSELVES)},
        )
        known[kind], ids = cursor.fetchone() or (0, [])
        missed[kind] = len(ids)
        due[kind] = _noted(cursor, kind, ids, at)
    _not_a_lot(cursor, known, due, at)
    return Missing(known, missed, due)


def _everything_shows(cursor: Cursor) -> None:
    problems = [sentence for _, sentence in [*access.hidden(cursor), *access.refused(cursor)]]
    rows, good = counts.count(cursor), counts.last_good(cursor)
    problems += [fallen for table, number in rows.items() if (fallen := counts.fall(table, number, good.get(table)))]
    problems += [
        f"{table} shows no row, though it had {was.rows}" for table, was in good.items() if was.rows and not rows[table]
    ]
    if problems:
        raise Hidden("; ".join(problems))


def _noted(cursor: Cursor, kind: str, ids: list[str], at: datetime) -> list[str]:
    """Those missed long enough. What shows again is forgotten."""
    values = {"kind": kind, "ids": ids, "at": at, "looks": LOOKS, "before": at - PATIENCE}
    cursor.execute(
        "DELETE FROM litgo.missed_subjects WHERE kind = %(kind)s AND id <> ALL(%(ids)s::uuid[])",
        values,
    )
    cursor.execute(
        sql("litgo_pipelines.persons", "missed.sql"),
        values,
    )
    cursor.execute(
        "SELECT id::text FROM litgo.missed_subjects WHERE kind = %(kind)s AND looks >= %(looks)s "
        "AND first_missed_at <= %(before)s ORDER BY 1",
        values,
    )
    return [one for (one,) in cursor.fetchall()]


def _not_a_lot(cursor: Cursor, known: Mapping[str, int], due: Mapping[str, list[str]], at: datetime) -> None:
    cursor.execute("SELECT 1 FROM litgo.deletions_confirmed WHERE confirmed_until >= %s", (at,))
    if cursor.fetchone():
        return
    for kind, ids in due.items():
        if len(ids) > max(FEW, SHARE * known[kind]):
            raise Hidden(
                f"{len(ids)} of {known[kind]} ids ({kind}) are gone from the marketplace: too many at once to follow "
                "by itself. If they were deleted there: `litgo titular confirmar`"
            )


def followed(cursor: Cursor, missing: Missing) -> Keys:
    """What goes with the ids that count as deleted."""
    kinds = ("person", "case", "contract", "review")
    return found.grown(cursor, *(missing.due.get(kind, []) for kind in kinds))


def forget_texts(cursor: Cursor, at: datetime) -> int:
    """Vectors and stems of texts that no case and no lawyer has any more; how many rows went. Raises Hidden.

    A vector is made again where it is missed: one night's patience is enough.
    """
    _everything_shows(cursor)
    statement = sql(PACKAGE, "forget_texts.sql").replace("{texts}", sql(PACKAGE, "texts.sql"))
    cursor.execute(statement, {"before": at - PATIENCE})
    return int((cursor.fetchone() or (0,))[0])


def confirm(cursor: Cursor, by: str, at: datetime) -> None:
    """For two days deletions are followed, however many they are."""
    cursor.execute(
        "INSERT INTO litgo.deletions_confirmed (confirmed_by, confirmed_until) VALUES (%s, %s) "
        "ON CONFLICT (singleton) DO UPDATE SET confirmed_by = excluded.confirmed_by, "
        "confirmed_until = excluded.confirmed_until",
        (by, at + timedelta(days=2)),
    )
