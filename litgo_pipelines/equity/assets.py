"""Nightly equity assets. A partition is the day whose window, 02:00 to 02:00 in São Paulo, ends at the night's run."""

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from litgo_pipelines.database import Connection
from litgo_pipelines.equity.capacity import capacity_rules, read_rules
from litgo_pipelines.observability import progress
from litgo_pipelines.observability.logs import log_json
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import TIMEZONE, settings
from litgo_pipelines.steps import (
    RETRY,
    Columns,
    Metadata,
    column_lineage,
    not_ahead,
    permanent_fails_once,
    table_metadata,
)

if TYPE_CHECKING:
    from litgo_pipelines.equity.distribution import Distribution

POOLS_SHOWN = 12
NIGHTS = dg.DailyPartitionsDefinition(start_date=settings().equity_first_night, timezone=TIMEZONE, hour_offset=2)
NIGHTLY: dict[str, Any] = {
    "partitions_def": NIGHTS,
    "backfill_policy": dg.BackfillPolicy.single_run(),
    "retry_policy": RETRY,
    "group_name": "equity",
    "owners": [Owner.DATA],
    "pool": "equity",
}

_CASES = (
    *(f"contracts.{name}" for name in ("lawyer_id", "case_id", "created_at", "status")),
    *(f"offers.{name}" for name in ("lawyer_id", "case_id", "status", "responded_at")),
)
_CAPACITY = tuple(
    f"lawyers.{name}" for name in ("curriculo_json", "kpi", "oab_inscription_date", "max_concurrent_cases")
)
LOAD_SOURCES: Columns = {
    "lawyer_id": ("lawyers.id",),
    "cases_30d": _CASES,
    "capacidade_mensal": _CAPACITY,
    "last_offered_at": ("offers.lawyer_id", "offers.sent_at"),
    "offers_30d": ("offers.lawyer_id", "offers.sent_at"),
    "load": (*_CASES, *_CAPACITY),
}
_PER_LAWYER = ("lawyer_load.offers_30d", "lawyer_load.capacidade_mensal")
DISTRIBUTION_SOURCES: Columns = {
    "lawyers": ("lawyer_load.lawyer_id",),
    "offers": ("lawyer_load.offers_30d",),
    "cases": ("cases.created_at", "cases.area", "cases.coords"),
    **dict.fromkeys(("gini", "coverage", "coverage_bound", "spread_points"), _PER_LAWYER),
    "demand_ratio": ("cases.created_at", "lawyer_load.capacidade_mensal"),
    "pools": (*_PER_LAWYER, "lawyers.tags_expertise", "lawyers.geo_latlon"),
}


class EquityConfig(dg.Config):
    """Overrides parts of the capacity rules for this run, over LITGO_CAPACITY_RULES, over the defaults."""

    capacity_rules: dict[str, Any] = Field(
        default_factory=dict, description='parts that differ in this run, like {"base": 12, "maximum": 40}'
    )


def nights(keys: Iterable[str]) -> list[tuple[str, date, datetime]]:
    """(partition key, night, as-of instant) of a run's, newest first, so that only the newest is written back.

    Instants in UTC: a month before one that says another zone is an hour off where the clocks changed in between.
    """
    return [
        (
            key,
            date.fromisoformat(key),
            not_ahead(NIGHTS.time_window_for_partition_key(key).end, f"the end of night {key}").astimezone(UTC),
        )
        for key in sorted(keys, reverse=True)
    ]


def _each_night(context: dg.AssetExecutionContext, doing: str) -> Iterator[tuple[str, date, datetime]]:
    """`nights`, on a progress bar where they are several."""
    of = nights(context.partition_keys)
    if len(of) == 1:
        yield from of
        return
    with progress.bar(doing, len(of), "nights") as bar:
        for one in of:
            yield one
            bar.update()


@dg.asset(
    deps=["lawyers", "offers", "contracts", "cases"],
    **NIGHTLY,
    kinds={"postgres", "sql"},
    description="Per lawyer and night: cases_30d, capacidade_mensal, last_offered_at and load = cases / capacity. "
    "Every night goes to litgo.equity_history; the newest one also to the marketplace's `lawyers`.",
    metadata={"dagster/table_name": "litgo.equity_history"},
)
@permanent_fails_once
def lawyer_load(
    context: dg.AssetExecutionContext, config: EquityConfig, postgres: Postgres
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.equity.load import run_night

    path = settings().litgo_capacity_rules
    rules = capacity_rules(read_rules(path) if path else {}, config.capacity_rules)
    results = []
    for key, night, as_of in _each_night(context, "load of lawyers"):
        with postgres.connect() as connection:
            result = run_night(connection, night, as_of, rules)
        figures = result.as_dict()
        if result.refused:
            context.log.warning(
                f"lawyers whose row the marketplace did not let change: {dict(list(result.refused.items())[:20])}"
            )
        log_json(context.log, "lawyer_load", run_id=context.run.run_id, partition=key, as_of=as_of, **figures)
        context.add_asset_metadata(figures, partition_key=key)
        results.append(result)
    with postgres.connect() as connection:
        figures_of_night, plot = load_metadata(connection, results[0].night)
    return dg.MaterializeResult(
        metadata={
            "dagster/column_lineage": column_lineage(LOAD_SOURCES),
            **figures_of_night,
            "load histogram": dg.MetadataValue.md(plot),
            "newest night": results[0].night.isoformat(),
            "nights in this run": len(results),
            "capacity rules": dg.MetadataValue.json(rules),
        }
    )


def load_metadata(connection: Connection, night: date) -> tuple[Metadata, str]:
    """Numbers of one night, which Dagster plots over time, and its histogram of load as markdown; counted in the
    database."""
    from litgo_pipelines.observability.plots import figure, markdown_image

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT least(floor(load * 10), 20)::int AS tenth, count(*) FROM litgo.equity_history "
            "WHERE night = %s GROUP BY 1 ORDER BY 1",
            (night,),
        )
        tenths = cursor.fetchall()
        cursor.execute(
            "SELECT count(*), sum(cases_30d), sum(capacidade_mensal), sum(cases_30d)::float8 / sum(capacidade_mensal), "
            "count(*) FILTER (WHERE last_offered_at IS NULL), count(*) FILTER (WHERE load > 1) "
            "FROM litgo.equity_history WHERE night = %s",
            (night,),
        )
        lawyers, cases, capacity, load, never, over = cursor.fetchone()
    figures: Metadata = {
        "lawyers": lawyers,
        "cases in 30 days": int(cases or 0),
        "capacity per month": int(capacity or 0),
        "load overall": round(load or 0.0, 4),
        "lawyers never offered a case": never,
        "lawyers above capacity": over,
    }
    drawn, axes = figure(f"Load of lawyers, night {night}", "load = cases in 30 days / monthly capacity", "lawyers")
    axes.bar([tenth / 10 + 0.05 for tenth, _ in tenths], [count for _, count in tenths], width=0.09)
    axes.axvline(1, color="tab:red", linewidth=1)
    return figures, markdown_image(drawn, "load histogram")


@dg.asset(
    deps=[lawyer_load, "cases", "lawyers"],
    **NIGHTLY,
    kinds={"postgres", "python"},
    description="How evenly offers were spread over the 30 days before the night: Gini of utilisation, coverage beside "
    "its bound, and the spread inside each pool (same area and state). Records who could be offered cases.",
    metadata={"dagster/table_name": "litgo.offer_distribution"},
)
@permanent_fails_once
def offer_distribution(context: dg.AssetExecutionContext, postgres: Postgres) -> dg.MaterializeResult[None]:
    from litgo_pipelines.equity.distribution import distribution
    from litgo_pipelines.equity.load import read_window, record_night, store_distribution

    newest: tuple[date, Distribution] | None = None
    for key, night, as_of in _each_night(context, "distribution of offers"):
        started = time.monotonic()
        with postgres.connect() as connection:
            record_night(connection, night, as_of)
            lawyers, cases = read_window(connection, night, as_of)
            figures = distribution(lawyers, cases)
            store_distribution(connection, night, as_of, figures)
        numbers = {
            "rows_read": len(lawyers.capacity) + len(cases.area),
            "rows_changed": 1,
            "seconds": round(time.monotonic() - started, 3),
            **{name: value for name, value in figures.items() if name != "pools" and value is not None},
        }
        log_json(context.log, "offer_distribution", run_id=context.run.run_id, partition=key, as_of=as_of, **numbers)
        context.add_asset_metadata(numbers, partition_key=key)
        newest = newest or (night, figures)
    assert newest is not None  # a run has a partition
    night, figures = newest
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT night, gini FROM litgo.offer_distribution "
            "WHERE night > %(night)s::date - 30 AND night <= %(night)s ORDER BY night",
            {"night": night},
        )
        history = cursor.fetchall()
        shown = figures["pools"][:POOLS_SHOWN]
        cursor.execute("SELECT litgo.pool_label(p) FROM unnest(%s::text[]) AS p", ([pool["pool"] for pool in shown],))
        labels = [label for (label,) in cursor.fetchall()]
        _, histogram = load_metadata(connection, night)
    return dg.MaterializeResult(
        metadata={
            "dagster/column_lineage": column_lineage(DISTRIBUTION_SOURCES),
            **distribution_metadata(night, figures, labels, history),
            "load histogram": dg.MetadataValue.md(histogram),
        }
    )


def distribution_metadata(
    night: date, figures: "Distribution", labels: list[str], history: list[tuple[date, float | None]]
) -> Metadata:
    """`labels`: of the largest pools, in their order."""
    from litgo_pipelines.observability.plots import figure, markdown_image

    drawn, axes = figure("Gini of offers per unit of capacity, last 30 nights", "", "Gini")
    known = [(night, gini) for night, gini in history if gini is not None]
    axes.plot(*zip(*known, strict=True) if known else ([], []), marker="o", markersize=3)
    axes.axhline(0.3, color="tab:red", linewidth=1, label="target: below 0.3")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8)
    drawn.autofmt_xdate()
    rows = [
        (label, p["lawyers"], p["offers"], p["gini"], round(p["coverage"], 3), round(p["spread_points"], 1))
        for label, p in zip(labels, figures["pools"], strict=False)
    ]
    table = table_metadata(("pool", "lawyers", "offers", "Gini", "coverage", "spread, points"), rows)
    return {
        "newest night": night.isoformat(),
        "largest pools": table,
        "Gini, last 30 nights": dg.MetadataValue.md(markdown_image(drawn, "Gini of the last 30 nights")),
    }


assets = [lawyer_load, offer_distribution]
