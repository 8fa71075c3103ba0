"""Checks on the nightly assets. Targets warn and never block: unattainable fairness must not stop the night."""

from collections.abc import Iterator

import dagster as dg

from litgo_pipelines.database import sql
from litgo_pipelines.equity.assets import lawyer_load, offer_distribution
from litgo_pipelines.equity.targets import TARGETS, Fairness, explain
from litgo_pipelines.resources.postgres import Postgres


@dg.asset_check(
    asset=lawyer_load,
    blocking=True,
    description="The newest night has every lawyer there was, once, with a capacity above 0 and a load that is "
    "cases / capacity.",
)
def every_lawyer_has_a_load(postgres: Postgres) -> dg.AssetCheckResult:
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(sql("litgo_pipelines.equity", "load_check.sql"))
        row = cursor.fetchone()
    if row is None:
        return dg.AssetCheckResult(passed=True, description="the marketplace has no lawyer")
    night, lawyers, *problems = row
    found = dict(zip(("missing", "with a wrong load", "offered later than the night"), problems, strict=True))
    return dg.AssetCheckResult(
        passed=not any(problems),
        description=f"night {night}: {lawyers} lawyers, " + ", ".join(f"{n} {what}" for what, n in found.items()),
        metadata={"lawyers": lawyers, **found},
    )


@dg.multi_asset_check(
    name="fairness_targets",
    specs=[dg.AssetCheckSpec(t.name, asset=offer_distribution, description=t.text) for t in TARGETS],
    can_subset=True,
)
def fairness_targets(context: dg.AssetCheckExecutionContext, postgres: Postgres) -> Iterator[dg.AssetCheckResult]:
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT night, gini, coverage, coverage_bound, spread_points, demand_ratio FROM litgo.offer_distribution "
            "ORDER BY night DESC LIMIT 1"
        )
        newest = cursor.fetchone()
    targets = [
        t for t in TARGETS if dg.AssetCheckKey(offer_distribution.key, t.name) in context.selected_asset_check_keys
    ]
    if newest is None:
        for target in targets:
            yield dg.AssetCheckResult(
                check_name=target.name,
                asset_key=offer_distribution.key,
                passed=True,
                severity=dg.AssetCheckSeverity.WARN,
                description="no night was computed yet",
            )
        return
    night, gini, coverage, bound, spread, demand = newest
    row: Fairness = {
        "gini": gini,
        "coverage": coverage,
        "coverage_bound": bound,
        "spread_points": spread,
        "demand_ratio": demand,
    }
    for target in targets:
        value = row[target.column]
        yield dg.AssetCheckResult(
            check_name=target.name,
            asset_key=offer_distribution.key,
            passed=target.met(value),
            severity=dg.AssetCheckSeverity.WARN,
            description=explain(target, night, row),
            metadata={"value": value, "target": target.limit} if value is not None else {},
        )


checks = [every_lawyer_has_a_load, fairness_targets]
