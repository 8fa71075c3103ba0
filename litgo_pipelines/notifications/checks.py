"""Checks on delivery: no message waits indefinitely. They warn and never block."""

from datetime import UTC, datetime

import dagster as dg

from litgo_pipelines.notifications import queue
from litgo_pipelines.notifications.assets import delivered_notifications
from litgo_pipelines.resources.postgres import Postgres

LONGEST_S = 3600


@dg.asset_check(asset=delivered_notifications, description="No message was given up after a day.")
def no_dead_messages(postgres: Postgres) -> dg.AssetCheckResult:
    with postgres.connect() as connection, connection.cursor() as cursor:
        dead = queue.dead(cursor)
    return dg.AssetCheckResult(
        passed=not dead,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(dead)} dead; the newest: {dead[-1].reason} — docs/notifications.md" if dead else "none",
        metadata={"dead letters": len(dead)},
    )


@dg.asset_check(
    asset=delivered_notifications, description=f"No message has waited for more than {LONGEST_S // 60} minutes."
)
def messages_go_out_in_time(postgres: Postgres) -> dg.AssetCheckResult:
    with postgres.connect() as connection, connection.cursor() as cursor:
        left, why = queue.waiting(cursor, datetime.now(UTC)), queue.reasons(cursor)
    return dg.AssetCheckResult(
        passed=left.oldest_seconds <= LONGEST_S,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{left.messages} wait, the oldest for {left.oldest_seconds / 60:.0f} minutes"
        + (f"; {why[0][0]}" if why else ""),
        metadata={"waiting": left.messages, "oldest waiting, seconds": round(left.oldest_seconds)},
    )


checks = [no_dead_messages, messages_go_out_in_time]
