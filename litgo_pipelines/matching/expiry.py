"""Expiry of offers, and terms that a case's urgency shortens. Knows the database, not Dagster."""

from collections.abc import Sequence
from datetime import datetime

import psycopg2

from litgo_pipelines.database import Connection, Cursor, error_kind, of_the_database, piecewise, sql
from litgo_pipelines.matching.plan import SHORTEST_TERM
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


def shorten(connection: Connection, as_of: datetime, urgency_share: float) -> tuple[int, dict[str, str]]:
    """(open offers that end earlier now, for their cases are more urgent than when they were made; offer → why not).

    What the marketplace refuses keeps its term and holds up nobody, also where it refuses every such change.
    """
    statement = sql(PACKAGE, "shorten.sql")
    parameters = {"as_of": as_of, "share": urgency_share, "least": SHORTEST_TERM}
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql(PACKAGE, "too_long.sql"), parameters)
            ends = dict(cursor.fetchall())

            def write(cursor: Cursor, ids: Sequence[str]) -> int:
                cursor.execute(statement, {"ids": list(ids), "ends": [ends[offer] for offer in ids]})
                return int(cursor.fetchone()[0])

            return piecewise(cursor, list(ends), write)
    except psycopg2.Error as error:
        if connection.closed or of_the_database(error):
            raise
        return 0, {ALL: error_kind(error)}
