"""Outbox queue: waiting and dead messages, for the sensor, the checks and the command line."""

from datetime import datetime
from typing import NamedTuple

from litgo_pipelines.database import Cursor, sql
from litgo_pipelines.settings import settings


class Waiting(NamedTuple):
    """`oldest_seconds`: since the oldest pending message was written; 0 without one."""

    messages: int
    oldest_seconds: float
    dead: int


class Dead(NamedTuple):
    """A message that was not delivered within a day."""

    message_id: int
    kind: str
    created_at: datetime
    reason: str


def due(cursor: Cursor, as_of: datetime) -> int:
    """People there is something to do for; at most 1,000 are counted."""
    cursor.execute(
        sql("litgo_pipelines.notifications", "due.sql"),
        {"as_of": as_of, "cooldown": settings().notification_cooldown_minutes},
    )
    return cursor.fetchone()[0]


def waiting(cursor: Cursor, as_of: datetime) -> Waiting:
    cursor.execute(
        "SELECT count(*) FILTER (WHERE status = 'pending'), greatest(0, coalesce(extract(epoch FROM %s - "
        "min(coalesce(retried_at, created_at)) FILTER (WHERE status = 'pending')), 0))::float8, "
        "count(*) FILTER (WHERE status = 'dead') FROM litgo.outbox WHERE status IN ('pending', 'dead')",
        (as_of,),
    )
    return Waiting(*cursor.fetchone())


def reasons(cursor: Cursor) -> list[tuple[str, int]]:
    """Why deliveries wait for another attempt, with how many; the commonest first. No personal data."""
    cursor.execute(
        "SELECT reason, count(*) FROM litgo.deliveries WHERE status = 'open' AND reason IS NOT NULL "
        "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20"
    )
    return cursor.fetchall()


def dead(cursor: Cursor) -> list[Dead]:
    """Dead letters, oldest first."""
    cursor.execute(
        "SELECT message_id, kind, created_at, reason FROM litgo.outbox WHERE status = 'dead' ORDER BY message_id"
    )
    return [Dead(*row) for row in cursor.fetchall()]


def retry(cursor: Cursor, message_id: int, as_of: datetime) -> bool:
    """Let a dead letter go again, for another day from `as_of`. False: there is no such dead letter."""
    cursor.execute(
        "UPDATE litgo.outbox SET status = 'pending', delivery_id = NULL, settled_at = NULL, reason = NULL, "
        "retried_at = %s WHERE message_id = %s AND status = 'dead'",
        (as_of, message_id),
    )
    return bool(cursor.rowcount)
