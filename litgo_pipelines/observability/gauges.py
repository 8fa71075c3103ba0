"""Gauges: figures that are read from rows as they are now, not counted.

Belongs here: each gauge with its help, labels and the one cheap statement that reads it. Counters are `metrics`'.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from litgo_pipelines.database import sql

Sample = tuple[tuple[str, ...], float]  # label values, value


@dataclass(frozen=True)
class Gauge:
    """`query` gives rows of label values, as text in the order of `labels`, and a value; a null value is left out."""

    help: str
    query: str
    labels: tuple[str, ...] = ()


GAUGES: dict[str, Gauge] = {
    "active_offers_count": Gauge(
        "Offers that wait for an answer.",
        "SELECT count(*) FROM offers WHERE status = 'pending' AND expires_at > now()",
    ),
    "pending_contracts_count": Gauge(
        "Contracts that wait for signatures.",
        "SELECT count(*) FROM contracts WHERE status = 'pending-signature'",
    ),
    "circuit_breaker_state": Gauge(
        "0 closed, 0.5 one probe is out, 1 open.",
        "SELECT service, CASE state WHEN 'closed' THEN 0 WHEN 'open' THEN 1 ELSE 0.5 END FROM litgo.circuit_breakers",
        ("service",),
    ),
    "equity_offer_gini": Gauge(
        "Gini of offers per capacity in the 30 days before the newest night; target < 0.3.",
        "SELECT gini FROM litgo.offer_distribution ORDER BY night DESC LIMIT 1",
    ),
    "equity_offer_coverage": Gauge(
        "Share of eligible lawyers with an offer in the 30 days before the newest night; target > 0.8.",
        "SELECT coverage FROM litgo.offer_distribution ORDER BY night DESC LIMIT 1",
    ),
    "equity_spread_points": Gauge(
        "Utilisation between the 5th and 95th percentile of a pool's lawyers, in points; target <= 20.",
        "SELECT pool ->> 'pool', (pool ->> 'spread_points')::float8 FROM (SELECT pools FROM litgo.offer_distribution "
        "ORDER BY night DESC LIMIT 1) newest CROSS JOIN jsonb_array_elements(pools) AS pool",
        ("pool",),
    ),
    "equity_last_night_timestamp_seconds": Gauge(
        "The instant of the newest night with equity figures.",
        "SELECT extract(epoch FROM max(as_of)) FROM litgo.offer_distribution",
    ),
    "case_queue_oldest_age_seconds": Gauge(
        "Age of the oldest case of the last two weeks that was never matched; 0 without one.",
        "SELECT coalesce(extract(epoch FROM now() - min(c.created_at)), 0) FROM cases c "
        "WHERE c.status = 'pending_assignment' AND c.created_at > now() - interval '14 days' "
        "AND NOT EXISTS (SELECT FROM litgo.matchings m WHERE m.case_id = c.id)",
    ),
    "matching_dead_letters": Gauge(
        "Cases that nobody could be found for in three tries.",
        "SELECT count(*) FROM litgo.matching_failures WHERE dead",
    ),
    "model_version_info": Gauge(
        "1 for the version that serves, or is tried.",
        "SELECT 'champion', version, 1 FROM litgo.current_champion UNION ALL "
        "SELECT 'challenger', treatment_version, 1 FROM litgo.experiments e WHERE NOT EXISTS "
        "(SELECT FROM litgo.experiment_ends x WHERE x.experiment = e.experiment)",
        ("alias", "version"),
    ),
    "ab_test_metrics": Gauge(
        "Figures of the experiment whose cutoff was closed last: an arm's, or the comparison's.",
        sql("litgo_pipelines.lifecycle", "ab_test_metrics.sql"),
        ("experiment", "variant", "metric"),
    ),
    "quality_cusum": Gauge(
        "Evidence that the champion's rate is .7 of what it should be; limit 13.",
        sql("litgo_pipelines.lifecycle", "monitor_cusum.sql"),
        ("against",),
    ),
    "quality_rate": Gauge(
        "Accepted of the day's final outcomes, and the reference.",
        sql("litgo_pipelines.lifecycle", "monitor_rates.sql"),
        ("what",),
    ),
    "model_rollbacks": Gauge(
        "Rollbacks by reason, from the append-only ledger.",
        "SELECT v.reason, count(l.sequence) FROM (VALUES ('cusum'), ('window'), ('floor'), ('errors'), "
        "('null_features'), ('by_hand')) AS v (reason) LEFT JOIN litgo.model_ledger l ON l.transition = 'rolled_back' "
        "AND coalesce(l.evidence ->> 'kind', 'by_hand') = v.reason GROUP BY 1",
        ("reason",),
    ),
    "job_last_success_timestamp_seconds": Gauge(
        "When a job's newest run that succeeded ended.",
        "SELECT job_name, extract(epoch FROM max(ended_at)) FROM litgo.job_runs WHERE status = 'success' GROUP BY 1",
        ("job_name",),
    ),
}


def read(cursor: Any) -> Mapping[str, list[Sample]]:
    """Every gauge's samples. Raises what the database raises: a gauge that cannot be read is no zero."""
    found: dict[str, list[Sample]] = {}
    for name, gauge in GAUGES.items():
        cursor.execute(gauge.query)
        found[name] = [
            (tuple(str(value) for value in row[:-1]), float(row[-1])) for row in cursor if row[-1] is not None
        ]
    return found
