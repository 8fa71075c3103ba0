"""Evidence asset: refreshed as often as automation requests it, before the next matching needs it."""

import dagster as dg

from litgo_pipelines.database import Connection, sql
from litgo_pipelines.observability.logs import log_json
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.steps import RETRY, AsOfConfig, Metadata, permanent_fails_once, table_metadata

FEATURES = {"T": "success rate", "Q": "curriculum", "U": "response time", "R": "reviews", "C": "soft skills"}


@dg.asset(
    deps=["lawyers", "cases", "offers", "contracts", "reviews"],
    group_name="evidence",
    owners=[Owner.DATA],
    kinds={"postgres", "sql"},
    pool="evidence",
    retry_policy=RETRY,
    description="What is known about each lawyer, overall and by subarea: outcomes, curriculum, response time, stars "
    "and tone of the comments. The raw material of the features T, Q, U, R and C.",
    metadata={"dagster/table_name": "litgo.lawyer_evidence"},
)
@permanent_fails_once
def lawyer_evidence(
    context: dg.AssetExecutionContext, config: AsOfConfig, postgres: Postgres
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.evidence.refresh import refresh

    as_of = config.instant()
    with postgres.connect() as connection:
        figures = refresh(connection, as_of).as_dict()
        known = coverage(connection)
    log_json(context.log, "lawyer_evidence", run_id=context.run.run_id, **figures)
    return dg.MaterializeResult(metadata={**figures, **coverage_metadata(*known)})


def coverage(connection: Connection) -> tuple[int, dict[str, int]]:
    """(lawyers, feature → lawyers of whom something is known)."""
    with connection.cursor() as cursor:
        cursor.execute(sql("litgo_pipelines.evidence", "coverage.sql"))
        lawyers, *known = cursor.fetchone()
    return lawyers, dict(zip(FEATURES, known, strict=True))


def coverage_metadata(lawyers: int, known: dict[str, int]) -> Metadata:
    from litgo_pipelines.observability.plots import figure, markdown_image

    drawn, axes = figure("Lawyers with evidence, by feature", "share of lawyers", "")
    share = {key: count / max(lawyers, 1) for key, count in known.items()}
    axes.barh([f"{key} {FEATURES[key]}" for key in share], list(share.values()))
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    rows = [(key, FEATURES[key], n, lawyers - n, round(share[key], 3)) for key, n in known.items()]
    return {
        "evidence": table_metadata(("feature", "from", "with", "without", "share"), rows),
        "coverage": dg.MetadataValue.md(markdown_image(drawn, "share of lawyers with evidence, by feature")),
    }


assets = [lawyer_evidence]
