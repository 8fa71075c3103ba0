"""Matching assets: offers for pending cases, expiry of offers, and the weekly calibration of the allocation."""

from typing import TYPE_CHECKING

import dagster as dg

from litgo_pipelines.database import Connection
from litgo_pipelines.figures import finite
from litgo_pipelines.observability.logs import log_json
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import settings
from litgo_pipelines.steps import RETRY, AsOfConfig, Metadata, permanent_fails_once, table_metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litgo_pipelines.matching.allocation import Rule
    from litgo_pipelines.matching.calibration import Fit, Window
    from litgo_pipelines.matching.serving import Rankers
    from litgo_pipelines.matching.work import BatchResult

GROUP = "matching"
BATCHES_PER_RUN = 20


@dg.asset(
    deps=[
        "triaged_cases",
        "text_embeddings",
        "cases",
        "lawyers",
        "offers",
        "contracts",
        "lawyer_evidence",
        "lawyer_momentum",
        "allocation_parameters",
    ],
    group_name=GROUP,
    owners=[Owner.DATA],
    kinds={"postgres", "python"},
    pool="matching",
    retry_policy=RETRY,
    description="Up to five offers for each pending case: candidates → features → relevance → allocation by "
    "relative load. One transaction per case; a batch that was killed is finished first, with the same offers.",
    metadata={"dagster/table_name": "litgo.matchings"},
)
@permanent_fails_once
def case_offers(
    context: dg.AssetExecutionContext, config: AsOfConfig, postgres: Postgres, mlflow: MLflow
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.matching import expiry
    from litgo_pipelines.matching.batch import match_pending
    from litgo_pipelines.matching.plan import read_plan
    from litgo_pipelines.matching.serving import Rankers

    values = settings()
    with postgres.connect() as connection, connection.cursor() as cursor:
        parameters = read_plan(cursor, values)
        expiry.expire(cursor, config.instant())  # so that their cases go on now
    rankers = Rankers(
        mlflow,
        values.served_models,
        experiments_enabled=values.ab_testing_enabled,
        holdout_points=round(values.holdout_percentage * 100),
    )
    results = []
    with postgres.session() as connection:
        shortened, kept = expiry.shorten(connection, config.instant(), parameters.offer_urgency_share)
        if shortened or kept:
            log_json(context.log, "shortened_offers", offers=shortened, refused=kept)
        for _ in range(BATCHES_PER_RUN):
            found = list(match_pending(connection, parameters, rankers, config.instant(), context.run.run_id))
            for result in found:
                log_json(context.log, "case_offers", run_id=context.run.run_id, **result.figures())
            results += found
            if sum(result.matched + len(result.failures) + result.waiting for result in found) < parameters.limit:
                break
    with postgres.connect() as connection:
        return dg.MaterializeResult(metadata=offer_metadata(connection, results, rankers))


def offer_metadata(connection: Connection, results: "Sequence[BatchResult]", rankers: "Rankers") -> Metadata:
    """What a person wants to see of a run: its batches, the share of relevance kept, why one case went to whom."""
    from litgo_pipelines.matching.explain import contributions, markdown, read_matchings
    from litgo_pipelines.observability.plots import FEWEST, figure, markdown_image

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM litgo.matching_failures WHERE dead")
        (dead,) = cursor.fetchone()
        cursor.execute("SELECT case_id::text FROM litgo.matchings ORDER BY matched_at DESC LIMIT 1")
        newest = cursor.fetchone()
        explained = read_matchings(cursor, newest[0])[-1] if newest else None
    failures = {case: reason for result in results for case, reason in result.failures.items()}
    metadata: Metadata = {
        "cases matched": sum(result.matched for result in results),
        "offers": sum(result.offers for result in results),
        "offers by chance": sum(result.explored for result in results),
        "cases that looked beyond the first radius": sum(result.widened for result in results),
        "cases nobody can be offered now": sum(result.waiting for result in results),
        "cases failed": len(failures),
        "dead letters": dead,
        "seconds": round(sum(result.seconds for result in results), 3),
    }
    if results:
        figures = [result.figures() for result in results]
        names = sorted({name for row in figures for name in row})
        metadata["batches"] = table_metadata(names, [[row.get(name) for name in names] for row in figures])
    kept = [share for result in results for share in result.kept]
    if len(kept) >= FEWEST:
        drawn, axes = figure("Relevance kept by the allocation", "share of the best five's relevance", "cases")
        axes.hist(kept, bins=20, range=(0.5, 1))
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
    description="Expires offers that nobody answered in time, hourly, in one statement.",
)
@permanent_fails_once
def expired_offers(
    context: dg.AssetExecutionContext, config: AsOfConfig, postgres: Postgres
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.matching import expiry

    as_of = config.instant()
    with postgres.connect() as connection, connection.cursor() as cursor:
        offers, cases, refused = expiry.expire(cursor, as_of)
    log_json(
        context.log,
        "expired_offers",
        run_id=context.run.run_id,
        as_of=as_of,
        offers=offers,
        cases=cases,
        refused=len(refused),
    )
    return dg.MaterializeResult(
        metadata={
            "offers expired": offers,
            "cases": cases,
            "as of": as_of.isoformat(),
            "offers the marketplace refused to change": dg.MetadataValue.json(dict(list(refused.items())[:50])),
        }
    )


@dg.asset(
    deps=[case_offers, expired_offers, "triaged_cases"],
    group_name=GROUP,
    owners=[Owner.MARKETPLACE],
    kinds={"postgres", "sql"},
    retry_policy=RETRY,
    description="Cases that go no further by themselves for now, with who knows of it: the list a person works "
    "(`litgo casos parados`). Tells clients and the team what waits for them, and records who could be offered cases.",
    metadata={"dagster/table_name": "litgo.case_waits"},
)
@permanent_fails_once
def parked_cases(
    context: dg.AssetExecutionContext, config: AsOfConfig, postgres: Postgres
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.equity import availability
    from litgo_pipelines.matching import waits
    from litgo_pipelines.matching.plan import read_plan

    as_of = config.instant()
    with postgres.connect() as connection, connection.cursor() as cursor:
        if gone := waits.gone(cursor, as_of):
            return dg.MaterializeResult(metadata={"stopped": "; ".join(map(str, gone))})
        aside = waits.put_aside(cursor, as_of)
        strange = waits.notify_unknown_states(cursor, as_of)
        ended = waits.park(cursor, read_plan(cursor, settings()), as_of)
        told = waits.notify(cursor, as_of)
        returned = availability.record(cursor, as_of)
        parked = waits.parked(cursor)
    counts = {reason: sum(case.reason == reason for case in parked) for reason in waits.REASONS}
    log_json(
        context.log,
        "parked_cases",
        run_id=context.run.run_id,
        as_of=as_of,
        ended=ended,
        told=told,
        aside=aside,
        returned=returned,
        **counts,
    )
    return dg.MaterializeResult(
        metadata={
            "people told": told,
            "rounds that ended": ended,
            "cases put aside until their row is mended": aside,
            "states that nobody knows, told": strange,
            "lawyers who can be offered cases again": returned,
            **{f"cases: {waits.REASONS[reason]}": count for reason, count in counts.items()},
            "casos parados": table_metadata(waits.COLUMNS, map(waits.cells, parked[:200])),
        }
    )


@dg.asset(
    deps=["cases", "lawyers", "lawyer_evidence", "lawyer_momentum"],
    group_name=GROUP,
    owners=[Owner.DATA],
    kinds={"postgres", "python"},
    pool="calibration",
    retry_policy=RETRY,
    description="The weight of load in the allocation, for each ranker in use: the smallest lambda with a Gini of at "
    "most .28 on a replay of the last weeks. The newest of a ranker is used, and logged with every match.",
    metadata={"dagster/table_name": "litgo.allocation_parameters"},
)
@permanent_fails_once
def allocation_parameters(
    context: dg.AssetExecutionContext, config: AsOfConfig, postgres: Postgres, mlflow: MLflow
) -> dg.MaterializeResult[None]:
    from tqdm import tqdm

    from litgo_pipelines.marketplace import counts
    from litgo_pipelines.matching import calibration
    from litgo_pipelines.matching.plan import read_plan
    from litgo_pipelines.matching.serving import Rankers

    values, as_of = settings(), config.instant()
    with postgres.connect() as connection, connection.cursor() as cursor:
        if gone := counts.gone(cursor):
            return dg.MaterializeResult(metadata={"decision": f"lambda stays: {'; '.join(map(str, gone))}"})
        using = read_plan(cursor, values)
        arms = Rankers(mlflow, values.served_models, holdout_points=1)(cursor, None)
        rankers = list({ranker.version: ranker for ranker in arms.rankers.values()}.values())  # the champion first
        window = calibration.read_window(cursor, as_of, rankers, values.matching_radii_km[0], values.matching_preset)
    if window is None:
        return dg.MaterializeResult(metadata={"decision": "too few cases for a replay: lambda stays"})
    rules = [using.rule_of(ranker) for ranker in rankers]
    with tqdm(desc="replaying", unit=" cases", mininterval=5) as bar:
        fits = calibration.fit_all(window, rules, bar.update)
    with postgres.connect() as connection, connection.cursor() as cursor:
        for fit in fits:
            calibration.record_weight(
                cursor, as_of, fit.ranker.version, fit.weight, fit.evidence(window), context.run.run_id
            )
    found = {fit.ranker.version or fit.ranker.kind: fit.weight for fit in fits}
    log_json(
        context.log,
        "allocation_parameters",
        run_id=context.run.run_id,
        as_of=as_of,
        share=window.share,
        cases=len(window.cases[0].at),
        lambdas=found,
    )
    return dg.MaterializeResult(metadata=calibration_metadata(window, rules, fits))


def calibration_metadata(window: "Window", rules: "Sequence[Rule]", fits: "Sequence[Fit]") -> Metadata:
    from litgo_pipelines.matching import replay
    from litgo_pipelines.observability.plots import figure, markdown_image

    drawn, axes = figure("Replay of the last weeks", "lambda", "")
    rows, decisions = [], []
    for rule, fit in zip(rules, fits, strict=True):
        name = f"version {fit.ranker.version}" if fit.ranker.version else "heuristic ranker"
        reached = "" if fit.reached else ": no lambda reached the Gini wanted with the cases there were"
        decisions.append(f"- {name}: lambda {rule.weight:g} → {fit.weight:g}{reached}")
        rows += [
            (name, round(weight, 2), round(f.gini, 3), round(f.coverage, 3), round(f.kept, 3), round(f.kept_p5, 3))
            for weight, f in fit.curve
        ]
        weights = [weight for weight, _ in fit.curve]
        axes.plot(weights, [f.gini for _, f in fit.curve], marker="o", label=f"{name}: Gini")
        axes.plot(weights, [f.kept for _, f in fit.curve], marker="o", linestyle=":", label=f"{name}: relevance kept")
    axes.axhline(replay.TARGET_GINI, color="tab:red", linewidth=1, label="Gini wanted")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8)
    return {
        "decision": dg.MetadataValue.md("\n".join(decisions)),
        "lambda of what serves": fits[0].weight,
        "Gini on the replay": finite(fits[0].figures.gini),
        "relevance kept on the replay": finite(fits[0].figures.kept),
        "cases replayed": len(window.cases[0].at),
        "lawyers": window.reached,
        "share of the marketplace": round(window.share, 3),
        "replays": table_metadata(("ranker", "lambda", "Gini", "coverage", "relevance kept", "5th percentile"), rows),
        "replays, drawn": dg.MetadataValue.md(markdown_image(drawn, "Gini and relevance kept by lambda")),
    }


@dg.asset(
    deps=["cases", "offers", "contracts"],
    group_name="evidence",
    owners=[Owner.DATA],
    kinds={"postgres", "python"},
    pool="evidence",
    retry_policy=RETRY,
    description="What each lawyer did lately in each area: acceptances and contracts per offer by half-life, days "
    "since the last one, share of the work, price level. From events before the instant; matching logs what it used.",
    metadata={"dagster/table_name": "litgo.lawyer_momentum"},
)
@permanent_fails_once
def lawyer_momentum(
    context: dg.AssetExecutionContext, config: AsOfConfig, postgres: Postgres
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.matching import momentum_night
    from litgo_pipelines.models.features import BY_KEY

    with postgres.connect() as connection, connection.cursor() as cursor:
        night = momentum_night.refresh(cursor, config.instant())
    log_json(
        context.log,
        "lawyer_momentum",
        run_id=context.run.run_id,
        as_of=night.as_of,
        rows=len(night.lawyers),
        events=night.events,
    )
    rows = [(key, BY_KEY[key].meaning, count) for key, count in night.known().items()]
    return dg.MaterializeResult(
        metadata={
            "as of": night.as_of.isoformat(),
            "dagster/row_count": len(night.lawyers),
            "events": night.events,
            "features": table_metadata(("feature", "meaning", "rows with it"), rows),
        }
    )


assets = [case_offers, expired_offers, parked_cases, allocation_parameters, lawyer_momentum]
