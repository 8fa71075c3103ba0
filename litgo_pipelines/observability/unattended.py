"""Nothing waits unseen: what is open has a next instant, or a person who was told, or is at its end.

Belongs here: per kind one statement that lists what has none of these. Gauge and asset check read the same ones.
"""

from datetime import UTC, datetime
from typing import NamedTuple

from litgo_pipelines.database import Cursor, sql

PACKAGE = "litgo_pipelines.observability"
EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
KINDS = ("case", "contract", "message", "batch", "review")

# Every table with a state or an instant that may be open → the kind its rows are listed under, or in words why nobody
# waits in it. A test asks the catalogue.
OPEN: dict[str, str] = {
    "cases": "case",
    "case_waits": "case",
    "matching_failures": "case",
    "triage_failures": "case",
    "offers": "case",
    "matching_batches": "batch",
    "contracts": "contract",
    "contract_requests": "contract",
    "outbox": "message",
    "deliveries": "message",
    "triage": "review",
    "lawyers": "a lawyer's own state: who is away is offered nothing, and cases wait under their own kind",
    "lawyer_availability": "the same, over time",
    "circuit_breakers": "probed by itself; the alert CircuitBreakerOpen",
    "job_runs": "runs that ended",
    "equity_history": "figures of a night",
    "pool_demand": "a state of Brazil",
    "quality_checks": "figures of a check",
    "experiment_ends": "the end of an experiment",
    "retrainings": "up to where reviews were read; the alerts of jobs tell of those that fail",
    "person_requests": "done in the command a person waits for; cut off, it goes on where it stopped",
    "unembeddable_texts": "texts without a vector, compared by their words",
    "own_marketplace": "whether the marketplace is a simulated one",
}


class Unattended(NamedTuple):
    """`due_at`: when something should have been done, or somebody told."""

    kind: str
    id: str
    due_at: datetime | None  # none that can be told


def find(cursor: Cursor, as_of: datetime) -> list[Unattended]:
    """All there is of each kind, the longest overdue first."""
    return examine(cursor, as_of, None)[1]


def examine(cursor: Cursor, as_of: datetime, most: int | None) -> tuple[dict[str, int], list[Unattended]]:
    """(kind → how many, the `most` that are overdue for longest)."""
    counts, found = dict.fromkeys(KINDS, 0), []
    for kind in KINDS:
        cursor.execute(
            f"SELECT *, count(*) OVER () FROM ({sql(PACKAGE, f'unattended_{kind}.sql')}) AS of_kind (id, due_at) "
            "ORDER BY due_at NULLS FIRST LIMIT %(most)s",
            {"as_of": as_of, "most": most},
        )
        for identifier, due_at, counts[kind] in cursor.fetchall():
            found.append(Unattended(kind, identifier, due_at))
    return counts, sorted(found, key=lambda each: each.due_at or EARLIEST)[:most]


def gauge_query() -> str:
    """Rows (kind, count) as of now."""
    return " UNION ALL ".join(
        f"SELECT '{kind}', count(*) FROM ({sql(PACKAGE, f'unattended_{kind}.sql')}) AS of_{kind}" for kind in KINDS
    ).replace("%(as_of)s", "now()")
