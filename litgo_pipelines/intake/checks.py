"""Check on the review queue: no client waits indefinitely because nobody looked. It warns and never blocks."""

from datetime import UTC, datetime

import dagster as dg

from litgo_pipelines.intake.assets import triaged_cases
from litgo_pipelines.resources.postgres import Postgres

LONGEST_H = 24
CANARIES = 40  # sentences; the check runs with every triage


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


@dg.asset_check(
    asset=triaged_cases,
    description="The model of danger still tells known sentences apart; its figure on unseen ones: docs/triage.md.",
)
def danger_is_recognised() -> dg.AssetCheckResult:
    from litgo_pipelines.intake import danger, measure

    known = danger.sentences()[:: max(len(danger.sentences()) // CANARIES, 1)]
    figures = measure.measured(known)
    return dg.AssetCheckResult(
        passed=figures.danger_found >= measure.TARGET_FOUND and figures.false_alarms <= measure.TARGET_FALSE,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"of {len(known)} known sentences: danger found {figures.danger_found:.2f} "
        f"(target {measure.TARGET_FOUND}), false alarms {figures.false_alarms:.2f} (target {measure.TARGET_FALSE})",
        metadata={"danger found": figures.danger_found, "false alarms": figures.false_alarms},
    )


checks = [review_queue_is_worked, danger_is_recognised]
