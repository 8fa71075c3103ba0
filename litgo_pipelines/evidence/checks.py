"""Checks on the evidence: matching must not start from a partial refresh; a burst of reviews is looked at."""

from datetime import datetime
from typing import NamedTuple

import dagster as dg

from litgo_pipelines import steps
from litgo_pipelines.database import Cursor, sql
from litgo_pipelines.evidence.assets import lawyer_evidence
from litgo_pipelines.resources.postgres import Postgres

BURST = 6  # reviews of one lawyer in 24 hours: more than a capacity lets end in a day


@dg.asset_check(
    asset=lawyer_evidence,
    blocking=True,
    description="Every lawyer known at the newest refresh has a row, and every value is within its range.",
)
def every_lawyer_has_evidence(postgres: Postgres) -> dg.AssetCheckResult:
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(sql("litgo_pipelines.evidence", "evidence_check.sql"))
        row = cursor.fetchone()
    if row is None:
        return dg.AssetCheckResult(passed=False, description="the evidence was never refreshed")
    as_of, lawyers, missing, wrong = row
    return dg.AssetCheckResult(
        passed=not (missing or wrong),
        description=f"as of {as_of.isoformat()}: {lawyers} lawyers, {missing} missing, {wrong} values out of range",
        metadata={"lawyers": lawyers, "missing": missing, "out of range": wrong},
    )


class Burst(NamedTuple):
    """The most reviews of a lawyer in 24 hours, and when the last of them came."""

    lawyer_id: str
    reviews: int
    last: datetime


def bursts(cursor: Cursor, as_of: datetime) -> list[Burst]:
    cursor.execute(sql("litgo_pipelines.evidence", "bursts.sql"), {"as_of": as_of, "least": BURST})
    return [Burst(*row) for row in cursor.fetchall()]


@dg.asset_check(
    asset=lawyer_evidence, description=f"No lawyer got {BURST} reviews or more within a day, in the last 90 days."
)
def no_burst_of_reviews(postgres: Postgres) -> dg.AssetCheckResult:
    with postgres.connect() as connection, connection.cursor() as cursor:
        found = bursts(cursor, steps.now())
    rows = [(one.lawyer_id, one.reviews, f"{one.last:%Y-%m-%d %H:%M} UTC") for one in found[:20]]
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(found)} lawyers: look whether their reviews are from clients who know them only as lawyers",
        metadata={"bursts": steps.table_metadata(("lawyer", "in 24 hours", "the last"), rows)},
    )


checks = [every_lawyer_has_evidence, no_burst_of_reviews]
