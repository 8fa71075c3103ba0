"""From pending cases to offers, and what keeps them in order: expiry, and the weekly calibration of the allocation."""

from typing import Any

import dagster as dg

from litgo_pipelines.database import sql
from litgo_pipelines.observability.logs import log_json
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import Settings, settings
from litgo_pipelines.steps import RETRY, AsOfConfig

GROUP = "matching"
BATCHES_A_RUN = 20


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
        round_days=values.matching_round_days,
        limit=values.matching_batch_size,
        embedding_model=values.openai_embedding_model,
    )


@dg.asset(
    deps=[
        "triaged_cases",
        "text_embeddings",
        "cases",
        "lawyers",
        "offers",
        "contracts",
        "lawyer_evidence",
        "allocation_parameters",
    ],
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
    from litgo_pipelines.matching.serving import Rankers

    values = settings()
    with postgres.connect() as connection, connection.cursor() as cursor:
        parameters = plan(cursor, values)
    rankers = Rankers(
        mlflow,
        values.served_models,
        experiments_enabled=values.ab_testing_enabled,
        holdout_points=round(values.holdout_percentage * 100),
    )
    results = []
    with postgres.session() as connection:
        for _ in range(BATCHES_A_RUN):
            found = list(match_pending(connection, parameters, rankers, config.instant(), context.run.run_id))
            for result in found:
                log_json(context.log, "case_offers", run_id=context.run.run_id, **result.figures())
            results += found
            if sum(result.matched + len(result.failures) for result in found) < parameters.limit:
                break
    with postgres.connect() as connection:
        return dg.MaterializeResult(metadata=offer_pictures(connection, results, rankers))


def offer_pictures(connection: Any, results: list[Any], rankers: Any) -> dict[str, Any]:
    """What a person wants to see of a run: its batches, the share of relevance kept, why one case went to whom."""
    from litgo_pipelines.matching.explain import contributions, markdown, read
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
        "cases that looked beyond the first radius": sum(result.widened for result in results),
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
        metadata["the newest case explained"] = dg.MetadataValue.md(
            markdown(explained, contributions(explained, rankers.parts(explained.model_version)))
        )
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


@dg.asset(
    deps=["cases", "lawyers", "lawyer_evidence"],
    group_name=GROUP,
    owners=[Owner.DATA],
    kinds={"postgres", "python"},
    pool="calibration",
    retry_policy=RETRY,
    description="The weight of load in the allocation: the smallest lambda with a Gini of at most .28 on a replay of "
    "the last weeks. Every calibration is a version; the newest is used, and logged with every match.",
    metadata={"dagster/table_name": "litgo.allocation_parameters"},
)
def allocation_parameters(
    context: dg.AssetExecutionContext, config: AsOfConfig, postgres: Postgres, mlflow: MLflow
) -> dg.MaterializeResult:
    from tqdm import tqdm

    from litgo_pipelines.matching import calibration
    from litgo_pipelines.matching.serving import Rankers

    values, as_of = settings(), config.instant()
    with postgres.connect() as connection, connection.cursor() as cursor:
        using = plan(cursor, values)
        ranker = Rankers(mlflow, values.served_models)(cursor, None).champion
        with tqdm(desc="replaying", unit=" cases", mininterval=5) as bar:
            done = calibration.run(
                cursor, as_of, using.rule, ranker, values.matching_radii_km[0], values.matching_preset, bar.update
            )
        chosen = calibration.record(cursor, as_of, done, using.rule, ranker, context.run.run_id)
    log_json(context.log, "allocation_parameters", run_id=context.run.run_id, as_of=as_of, cases=done.cases,
             lawyers=done.lawyers, share=done.share, **{"lambda": chosen})  # fmt: skip
    return dg.MaterializeResult(metadata=calibration_pictures(done, using.rule.weight, chosen))


def calibration_pictures(done: Any, before: float, chosen: float | None) -> dict[str, Any]:
    from litgo_pipelines.observability.plots import figure, markdown_image

    metadata: dict[str, Any] = {
        "cases replayed": done.cases,
        "lawyers": done.lawyers,
        "share of the marketplace": round(done.share, 3),
        "lambda in use": before if chosen is None else chosen,
    }
    if done.found is None:
        return {**metadata, "decision": "too few cases for a replay: lambda stays"}
    if done.found.weight is None:
        metadata["decision"] = "no lambda reached a Gini of .28 with the cases there were: lambda stays"
    else:
        metadata["decision"] = f"lambda {before:g} → {chosen:g}"
    rows = [
        f"| {weight:.2f} | {f.gini:.3f} | {f.coverage:.1%} | {f.kept:.1%} | {f.kept_p5:.1%} |"
        for weight, f in done.found.curve
    ]
    metadata["replays"] = dg.MetadataValue.md(
        "\n".join(["| lambda | Gini | coverage | relevance kept | 5th percentile |", "|--:|--:|--:|--:|--:|", *rows])
    )
    drawn, axes = figure("Replay of the last weeks", "lambda", "")
    weights = [weight for weight, _ in done.found.curve]
    axes.plot(weights, [f.gini for _, f in done.found.curve], marker="o", label="Gini")
    axes.plot(weights, [f.kept for _, f in done.found.curve], marker="o", label="relevance kept")
    axes.axhline(0.28, color="tab:red", linewidth=1, label="Gini wanted")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8)
    metadata["replays, drawn"] = dg.MetadataValue.md(markdown_image(drawn, "Gini and relevance kept by lambda"))
    return metadata


assets = [case_offers, expired_offers, allocation_parameters]
