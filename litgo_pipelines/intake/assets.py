"""Triage as an asset: new cases get an area, a subarea, an urgency and a complexity, or a place in the review queue."""

from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from litgo_pipelines.database import Connection
from litgo_pipelines.observability.logs import log_json
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.openai import OpenAI
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import settings
from litgo_pipelines.steps import RETRY, AsOfConfig, Metadata, permanent_fails_once, table_metadata

if TYPE_CHECKING:
    from litgo_pipelines.intake.batch import TriageResult


class TriageConfig(AsOfConfig):
    limit: int = Field(default=500, ge=1, le=10_000, description="cases per run")


@dg.asset(
    deps=["cases", "profiles"],
    group_name="intake",
    owners=[Owner.DATA],
    kinds={"postgres", "python", "scikitlearn", "openai"},
    pool="intake",
    retry_policy=RETRY,
    description="Pending cases get area, subarea, urgency and complexity: what the client chose is kept, OpenAI (where "
    "configured) or the local classifier decides where it is sure enough, everything else waits for a person. One "
    "transaction per case.",
    metadata={"dagster/table_name": "litgo.triage"},
)
@permanent_fails_once
def triaged_cases(
    context: dg.AssetExecutionContext, config: TriageConfig, postgres: Postgres, openai: OpenAI
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.intake.batch import local_model, triage_pending

    values, as_of = settings(), config.instant()
    with postgres.session() as connection:
        version, model = local_model(connection, values.triage_models, as_of)
        result = triage_pending(
            connection,
            as_of,
            limit=config.limit,
            threshold=values.triage_min_confidence,
            version=version,
            model=model,
            openai=openai,
            warn=context.log.warning,
        )
        pictures = queue_metadata(connection, as_of)
    log_json(context.log, "triaged_cases", run_id=context.run.run_id, **result.figures())
    return dg.MaterializeResult(metadata={**run_metadata(result, values.triage_min_confidence), **pictures})


def run_metadata(result: "TriageResult", threshold: float) -> Metadata:
    """Counts by status and area, and how sure the classifier was."""
    from litgo_pipelines.observability.plots import FEWEST, figure, markdown_image

    rows = [(status, area, number) for (status, area), number in sorted(result.areas.items())]
    metadata: Metadata = {
        **{name: result.statuses[name] for name in ("classified", "review", "failed")},
        "changed meanwhile": result.statuses["changed"],
        "as of": result.as_of.isoformat(),
        "classifier": result.classifier,
        "seconds": round(result.seconds, 3),
        "by area": table_metadata(("status", "area", "cases"), rows),
        "decided by": dg.MetadataValue.json(dict(result.sources)),
    }
    if result.fallbacks:
        metadata["OpenAI did not decide"] = dg.MetadataValue.json(dict(result.fallbacks))
    if result.withheld:
        metadata["OpenAI was not asked"] = dg.MetadataValue.json(dict(result.withheld))
    if result.failures:
        metadata["failures"] = dg.MetadataValue.json(dict(list(result.failures.items())[:50]))
    if len(result.confidence) >= FEWEST:
        drawn, axes = figure("Confidence in the area", "confidence", "cases")
        axes.hist(result.confidence, bins=20, range=(0, 1))
        axes.axvline(threshold, color="tab:red", linewidth=1, label="below: a person decides")
        axes.legend(frameon=False, fontsize=8)
        metadata["confidence"] = dg.MetadataValue.md(markdown_image(drawn, "confidence in the area"))
    return metadata


def queue_metadata(connection: Connection, as_of: datetime) -> Metadata:
    from litgo_pipelines.intake.review import markdown, queue, waiting

    with connection, connection.cursor() as cursor:
        return {
            "waiting for review": waiting(cursor, as_of),
            "review queue": dg.MetadataValue.md(markdown(queue(cursor, as_of))),
        }


assets = [triaged_cases]
