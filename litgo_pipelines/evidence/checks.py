"""Check on the evidence: matching must not start from a partial refresh."""

import dagster as dg

from litgo_pipelines.database import sql
from litgo_pipelines.evidence.assets import lawyer_evidence
from litgo_pipelines.resources.postgres import Postgres


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


checks = [every_lawyer_has_evidence]
