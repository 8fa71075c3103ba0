"""Quality monitor as an asset with its check. Thin: `check`, `report`."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from litgo_pipelines import steps
from litgo_pipelines.database import sql
from litgo_pipelines.lifecycle.assets import GROUP
from litgo_pipelines.observability.logs import log_json
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import Settings, settings
from litgo_pipelines.steps import RETRY, AsOfConfig, permanent_fails_once

if TYPE_CHECKING:
    from litgo_pipelines.monitoring.check import MonitorLimits


def limits(values: Settings) -> "MonitorLimits":
    """What the monitor is asked with by these settings."""
    from litgo_pipelines.monitoring.check import MonitorLimits

    return MonitorLimits(
        outcome_hours=values.quality_outcome_hours or values.offer_hours,
        floor=values.quality_threshold,
        min_outcomes=values.quality_min_outcomes,
    )


@dg.asset(
    group_name=GROUP,
    owners=[Owner.LEARNING],
    kinds={"postgres", "matplotlib"},
    deps=["case_offers", "offers"],
    pool="quality_monitor",
    retry_policy=RETRY,
    description="Whether the champion still works as it did: outcomes against its reference and the holdout, errors, "
    "null features. One that must go is rolled back and what served before serves again.",
    metadata={"dagster/table_name": "litgo.quality_checks"},
)
@permanent_fails_once
def quality_monitor(
    context: dg.AssetExecutionContext, config: AsOfConfig, postgres: Postgres, mlflow: MLflow
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.monitoring import check, report

    values, at = settings(), config.instant()
    if at > steps.now():
        raise dg.Failure(
            f"as_of={at.isoformat()} is in the future: every check until then would be lost", allow_retries=False
        )
    with postgres.session() as connection:
        done = check.check_and_act(connection, mlflow, values.served_models, at, limits(values), context.run.run_id)
        with connection, connection.cursor() as cursor:
            history = report.history(cursor, at)
    metadata: dict[str, Any] = {"as of": at.isoformat()}
    if done.check:
        checked = done.check
        log_json(
            context.log,
            "quality_monitor",
            run_id=context.run.run_id,
            version=checked.version,
            decision=checked.decision,
            cusum=round(checked.after.alone.cusum, 3),
            outcomes=checked.seen.new.outcomes,
            requests=checked.seen.requests,
            errors=checked.seen.errors,
        )
        metadata |= {
            "decision": check.decision_text(checked),
            "counts": dg.MetadataValue.md(report.counts_table(checked)),
            "cusum against the reference": checked.after.alone.cusum,
            "cusum against the holdout": checked.after.control_cusum,
            "new outcomes": checked.seen.new.outcomes,
            "requests": checked.seen.requests,
            "errors": checked.seen.errors,
        }
    else:
        metadata["decision"] = "nothing to see since the last check, or no model serves"
    if done.rolled_back:
        version, successor = done.rolled_back
        serves = f"version {successor} serves" if successor else "the heuristic ranker serves"
        metadata["rolled back"] = f"version {version}; {serves}"
    if history:
        metadata |= {name: dg.MetadataValue.md(text) for name, text in report.pictures(history).items()}
    return dg.MaterializeResult(metadata=metadata)


@dg.asset_check(
    asset=quality_monitor,
    description="No alarm of the newest check of what serves, and no rollback waits to be finished.",
)
def champion_works(postgres: Postgres) -> dg.AssetCheckResult:
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(sql("litgo_pipelines.monitoring", "works.sql"))
        unfinished, version, decision, alarms = cursor.fetchone()
    reasons = "; ".join(alarm["reason"] for alarm in alarms or [])
    return dg.AssetCheckResult(
        passed=not unfinished and not alarms,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"version {version} {decision}: {reasons or 'no alarm'}" if version else "no check was made yet",
        metadata={"unfinished rollbacks": unfinished},
    )


assets = [quality_monitor]
checks: list[Any] = [champion_works]
