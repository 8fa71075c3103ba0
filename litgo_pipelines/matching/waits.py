"""Waits: cases nobody can be offered now, with the instant of the next look or the people who were told.

Knows the database, not Dagster. Every function works in the caller's transaction.
"""

from datetime import datetime
from typing import Any

from litgo_pipelines.database import Cursor
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines.matching.statements import statement
from litgo_pipelines.notifications.outbox import TEAM


def write_wait(cursor: Cursor, case_id: str, round_number: int, as_of: datetime) -> None:
    """One look at a case found nobody. Tells team and client when it has lasted long enough."""
    cursor.execute(
        statement(cursor, "wait.sql"), {"case_id": case_id, "round": round_number, "as_of": as_of, "team": TEAM}
    )


def record_availability(cursor: Cursor, as_of: datetime) -> int:
    """Who could be offered a case, as seen at the instant; how many could not before."""
    cursor.execute(statement(cursor, "availability.sql"), {"as_of": as_of})
    return int(cursor.fetchone()[0])


def over(cursor: Cursor, plan: Plan, as_of: datetime) -> int:
    """How many cases are at the end of their rounds without anybody told."""
    cursor.execute(f"SELECT count(*) FROM ({statement(cursor, 'over.sql')}) AS over", _limits(plan, as_of))
    return int(cursor.fetchone()[0])


def park(cursor: Cursor, plan: Plan, as_of: datetime) -> int:
    """Tell of the cases at the end of their rounds, and let them wait for a change."""
    cursor.execute(statement(cursor, "park.sql"), {**_limits(plan, as_of), "team": TEAM})
    return int(cursor.fetchone()[0])


def _limits(plan: Plan, as_of: datetime) -> dict[str, Any]:
    return {"as_of": as_of, "rounds": plan.rounds, "round_days": plan.round_days}
