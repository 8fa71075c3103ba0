"""Checks on offers: invariants that must hold, and conditions a person should look at."""

import dagster as dg

from litgo_pipelines import steps
from litgo_pipelines.database import sql
from litgo_pipelines.matching.assets import case_offers, parked_cases
from litgo_pipelines.observability import unattended
from litgo_pipelines.resources.postgres import Postgres


@dg.asset_check(
    asset=case_offers,
    description="Offers of the newest batches are whole: at most five per case and round, no more than were eligible, "
    "each with its logged features and propensity, and with its message.",
)
def offers_are_whole(postgres: Postgres) -> dg.AssetCheckResult:
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(sql("litgo_pipelines.matching", "offers_check.sql"))
        cases, *wrong = cursor.fetchone()
    found = dict(
        zip(
            ("with a wrong number of offers", "offers without features", "offers without a message"), wrong, strict=True
        )
    )
    return dg.AssetCheckResult(
        passed=not any(wrong),
        description=f"{cases} cases: " + ", ".join(f"{n} {what}" for what, n in found.items()),
        metadata={"cases": cases, **found},
    )


@dg.asset_check(asset=case_offers, description="The champion ranks, where there is one.")
def champion_ranks(postgres: Postgres) -> dg.AssetCheckResult:
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT version FROM litgo.current_champion), "
            "(SELECT ranker FROM litgo.exposures WHERE arm IS DISTINCT FROM 'holdout' ORDER BY exposed_at DESC LIMIT 1)"
        )
        champion, ranker = cursor.fetchone()
    passed = champion is None or ranker in (None, "model")
    return dg.AssetCheckResult(
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"champion {champion or 'none yet'}, newest case ranked by {ranker or 'nothing'}"
        + ("" if passed else ": is MLflow up, and does the version load? The run's metadata has the reason"),
    )


@dg.asset_check(
    asset=case_offers,
    description="No case failed three times in matching; a case that nobody can be offered right now is not a failure.",
)
def no_dead_letters(postgres: Postgres) -> dg.AssetCheckResult:
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), min(reason) FROM litgo.matching_failures f JOIN cases c ON c.id = f.case_id "
            "WHERE f.dead AND c.status = 'pending_assignment'"
        )
        dead, reason = cursor.fetchone()
    return dg.AssetCheckResult(
        passed=not dead,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{dead} cases; one of them: {reason} — `litgo dead-letters` lists them" if dead else "none",
        metadata={"dead letters": dead},
    )


@dg.asset_check(
    asset=parked_cases,
    description="Every open case, contract, message, batch and review-queue entry has a next instant or a person told.",
)
def nothing_waits_unseen(postgres: Postgres) -> dg.AssetCheckResult:
    with postgres.connect() as connection, connection.cursor() as cursor:
        counts, found = unattended.examine(cursor, steps.now(), 100)
    rows = [(each.kind, each.id, f"{each.due_at:%Y-%m-%d %H:%M %Z}" if each.due_at else "–") for each in found]
    return dg.AssetCheckResult(
        passed=not found,
        description=", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "none",
        metadata={**counts, "unattended": steps.table_metadata(("kind", "id", "due since"), rows)},
    )


@dg.asset_check(
    asset=case_offers,
    description="No table that decides who is offered what has lost more than half of its rows since the last good "
    "night; while one has, nothing is matched, nobody is told that there is nobody, and nobody counts as gone.",
)
def rows_are_there(postgres: Postgres) -> dg.AssetCheckResult:
    from litgo_pipelines.marketplace import counts

    with postgres.connect() as connection, connection.cursor() as cursor:
        gone = counts.gone(cursor)
    return dg.AssetCheckResult(passed=not gone, description="; ".join(map(str, gone)) or "as on the last good night")


checks = [rows_are_there, offers_are_whole, champion_ranks, no_dead_letters, nothing_waits_unseen]
