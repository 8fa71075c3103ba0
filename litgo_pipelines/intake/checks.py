"""The check on the review queue: a client must not wait for ever because nobody looked. It warns and never blocks."""

from datetime import UTC, datetime

import dagster as dg

from litgo_pipelines.intake.assets import triaged_cases
from litgo_pipelines.resources.postgres import Postgres

LONGEST_H = 24


@dg.asset_check(asset=triaged_cases, description=f"No open case waits for review for {LONGEST_H} hours or more.")
def review_queue_is_worked(postgres: Postgres) -> dg.AssetCheckResult:
    from litgo_pipelines.intake.review import waiting

    as_of = datetime.now(UTC)
    with postgres.connect() as connection, connection.cursor() as cursor:
        overdue, total = waiting(cursor, as_of, LONGEST_H), waiting(cursor, as_of)
    return dg.AssetCheckResult(
        passed=not overdue,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{overdue} of {total} cases in review wait for {LONGEST_H} hours or more: docs/triage.md",
        metadata={"overdue": overdue, "waiting": total},
    )


checks = [review_queue_is_worked]
