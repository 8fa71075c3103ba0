"""Nothing waits unseen: what is open has a next instant, or a person who was told, or is at its end.

Belongs here: per kind one statement that lists what has none of these. Gauge and asset check read the same ones.
"""

from datetime import UTC, datetime
from typing import NamedTuple

from litgo_pipelines.database import Cursor, sql

PACKAGE = "litgo_pipelines.observability"
EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
KINDS = ("case", "contract", "message", "batch", "review")


class Unattended(NamedTuple):
    """`due_at`: when something should have been done, or somebody told."""

    kind: str
    id: str
    due_at: datetime | None  # none that can be told


def find(cursor: Cursor, as_of: datetime) -> list[Unattended]:
    """All there is of each kind, the longest overdue first."""
    found = []
    for kind in KINDS:
        cursor.execute(sql(PACKAGE, f"unattended_{kind}.sql"), {"as_of": as_of})
        found += [Unattended(kind, *row) for row in cursor.fetchall()]
    return sorted(found, key=lambda each: each.due_at or EARLIEST)


def gauge_query() -> str:
    """Rows (kind, count) as of now."""
    return " UNION ALL ".join(
        f"SELECT '{kind}', count(*) FROM ({sql(PACKAGE, f'unattended_{kind}.sql')}) AS of_{kind}" for kind in KINDS
    ).replace("%(as_of)s", "now()")
