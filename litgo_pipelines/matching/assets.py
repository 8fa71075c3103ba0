"""From pending cases to offers, and what keeps them in order: expiry, and the weekly calibration of the allocation."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from litgo_pipelines.database import sql
from litgo_pipelines.observability.logs import log_json
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import Settings, settings

GROUP = "matching"
RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
BATCHES_A_RUN = 20


class AsOfConfig(dg.Config):
    """The instant the work is for; unset: when it starts."""

    as_of: str | None = Field(default=None, description="ISO 8601 with a zone, for replays")

    def instant(self) -> datetime:
        """Raises ValueError for an instant without a zone."""
        if self.as_of is None:
            return datetime.now(UTC)
        instant = datetime.fromisoformat(self.as_of)
        if instant.tzinfo is None:
            raise ValueError(f"as_of={self.as_of} has no zone: write it like 2026-01-31T02:00:00-03:00")
        return instant


def plan(cursor: Any, values: Settings) -> Any:
    """The batch's parameters: the newest calibrated lambda, and the settings."""
    from litgo_pipelines.matching.allocation import Rule
    from litgo_pipelines.matching.batch import Plan

    cursor.execute("SELECT version, lambda FROM litgo.allocation_parameters ORDER BY version DESC LIMIT 1")
    version, weight = cursor.fetchone() or (None, values.allocation_lambda)
    return Plan(
        rule=Rule(weight=weight, keep=values.allocation_keep),
        rule_version=version,
        exploration=values.exploration_share,
        radii_km=values.matching_radii_km,
        preset=values.matching_preset,
        offer_hours=values.offer_hours,
        rounds=values.matching_rounds,
        limit=values.matching_batch_size,
    )


@dg.asset(
    deps=["cases", "lawyers", "offers", "contracts", "case_matches"],
    group_name=GROUP,
    owners=[Owner.DATA],
    kinds={"postgres", "python"},
    pool="matching",
    retry_policy=RETRY,
    description="Pending cases become up to five offers each: candidates → features → relevance → allocation by "
    "relative load. One transaction a case; a batch that was killed is finished first, with the same offers.",
    metadata={"dagster/table_name": "litgo.matchings"},
)
def case_offers(
    context: dg.AssetExecutionContext, config: AsOfConfig, postgres: Postgres, mlflow: MLflow
) -> dg.MaterializeResult:
    from litgo_pipelines.matching.batch import match_pending
    from litgo_pipelines.matching.serving import ranker_for

    values = settings()
    with postgres.connect() as connection, connection.cursor() as cursor:
        parameters = plan(cursor, values)
    serving = ranker_for(mlflow, values.home / "models" / "served")
    results = []
    with postgres.session() as connection:
        for _ in range(BATCHES_A_RUN):
            found = list(match_pending(connection, parameters, serving, config.instant(), context.run.run_id))
            for result in found:
                log_json(context.log, "case_offers", run_id=context.run.run_id, **result.figures())
            results += found
            if sum(result.matched + len(result.failures) for result in found) < parameters.limit:
                break
    with postgres.connect() as connection:
        return dg.MaterializeResult(metadata=offer_pictures(connection, results))


def offer_pictures(connection: Any, results: list[Any]) -> dict[str, Any]:
    """What a person wants to see of a run: its batches, the share of relevance kept, why one case went to whom."""
    from litgo_pipelines.matching.explain import markdown, read
    from litgo_pipelines.observability.plots import figure, markdown_image

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM litgo.matching_failures WHERE dead")
        (dead,) = cursor.fetchone()
        cursor.execute("SELECT case_id::text FROM litgo.matchings ORDER BY matched_at DESC LIMIT 1")
        newest = cursor.fetchone()
        explained = read(cursor, newest[0])[-1] if newest else None
    failures = {case: reason for result in results for case, reason in result.failures.items()}
    metadata: dict[str, Any] = {
        "cases matched": sum(result.matched for result in results),
        "offers": sum(result.offers for result in results),
        "offers by chance": sum(result.explored for result in results),
        "cases that waited for a wider radius": sum(result.widened for result in results),
        "cases failed": len(failures),
        "dead letters": dead,
        "seconds": round(sum(result.seconds for result in results), 3),
    }
    if results:
        figures = [result.figures() for result in results]
        names = sorted({name for row in figures for name in row})
        rows = [names, ["---"] * len(names), *([str(row.get(name, "")) for name in names] for row in figures)]
        metadata["batches"] = dg.MetadataValue.md("\n".join(f"| {' | '.join(row)} |" for row in rows))
        drawn, axes = figure("Relevance kept by the allocation", "share of the best five's relevance", "cases")
        axes.hist([kept for result in results for kept in result.kept], bins=20, range=(0.5, 1))
        metadata["relevance kept"] = dg.MetadataValue.md(markdown_image(drawn, "relevance kept"))
    for problem in {result.problem for result in results if result.problem}:
        metadata["champion not used"] = problem
    if failures:
        metadata["failures"] = dg.MetadataValue.json(dict(list(failures.items())[:50]))
    if explained:
        metadata["the newest case explained"] = dg.MetadataValue.md(markdown(explained))
    return metadata


@dg.asset(
    deps=[case_offers],
    group_name=GROUP,
    owners=[Owner.DATA],
    kinds={"postgres", "sql"},
    retry_policy=RETRY,
    description="Offers nobody answered in time become 'expired', every hour, in one statement.",
)
def expired_offers(context: dg.AssetExecutionContext, config: AsOfConfig, postgres: Postgres) -> dg.MaterializeResult:
    as_of = config.instant()
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(sql("litgo_pipelines.matching", "expiry.sql"), {"as_of": as_of})
        offers, cases = cursor.fetchone()
    log_json(context.log, "expired_offers", run_id=context.run.run_id, as_of=as_of, offers=offers, cases=cases)
    return dg.MaterializeResult(metadata={"offers expired": offers, "cases": cases, "as of": as_of.isoformat()})


assets = [case_offers, expired_offers]
