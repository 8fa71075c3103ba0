"""Expiry of offers, in one statement where every row can be changed. Knows the database, not Dagster."""

from collections.abc import Sequence
from datetime import datetime

from litgo_pipelines.database import Cursor, piecewise, sql
from litgo_pipelines.matching.statements import PACKAGE

ALL = "all"


def expire(cursor: Cursor, as_of: datetime) -> tuple[int, int, dict[str, str]]:
    """(offers that became 'expired', their cases, offer → why the marketplace refused the change)."""
    statement, cases = sql(PACKAGE, "expiry.sql"), 0

    def write(cursor: Cursor, ids: Sequence[str]) -> int:
        nonlocal cases
        cursor.execute(statement, {"as_of": as_of, "ids": None if ALL in ids else list(ids)})
        offers, of_cases = cursor.fetchone()
        cases += of_cases
        return int(offers)

    offers, refused = piecewise(cursor, [ALL], write)
    if not refused:
        return offers, cases, {}
    cursor.execute("SELECT id::text FROM offers WHERE status = 'pending' AND expires_at <= %s ORDER BY 1", (as_of,))
    offers, refused = piecewise(cursor, [offer for (offer,) in cursor.fetchall()], write)
    return offers, cases, refused
