"""Gauges: figures read from rows as they are now, not counted.

Belongs here: each gauge with its help, labels and the one cheap statement that reads it. Counters are `metrics`'.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import psycopg2

from litgo_pipelines.database import Cursor, error_kind, sql
from litgo_pipelines.observability import unattended
from litgo_pipelines.observability.metrics import JOB_NAMES, SERVICES

Sample = tuple[tuple[str, ...], float]  # label values, value


@dataclass(frozen=True)
class Gauge:
    """`query` gives rows of label values, as text in the order of `labels`, and a value; a null value is left out.

    `every`: seconds between two reads of what is expensive or hardly changes; 0: each time. `most`: series at most, the
    first rows of the query; the others are left out.
    """

    help: str
    query: str
    labels: tuple[str, ...] = ()
    every: float = 0
    most: int = 1


POOLS, AREAS = 300, 50
# Labels of the taxonomy only; of the pools that are "outra" in a state, the largest.
_POOLS = sql("litgo_pipelines.observability", "pools.sql").replace("{pools}", str(POOLS))
_BY_AREA = sql("litgo_pipelines.observability", "areas.sql").replace("{areas}", str(AREAS))
_URGENT = sql("litgo_pipelines.observability", "urgent_waits.sql")

GAUGES: dict[str, Gauge] = {
    "active_offers_count": Gauge(
        "Offers that wait for an answer.",
        "SELECT count(*) FROM exported_offers WHERE status = 'pending' AND expires_at > now()",
    ),
    "pending_contracts_count": Gauge(
        "Contracts that wait for signatures.",
        "SELECT count(*) FROM exported_contracts WHERE status = 'pending-signature'",
    ),
    "circuit_breaker_state": Gauge(
        "0 closed, 0.5 one probe is out, 1 open.",
        "SELECT service, CASE state WHEN 'closed' THEN 0 WHEN 'open' THEN 1 ELSE 0.5 END FROM litgo.circuit_breakers",
        ("service",),
        most=len(SERVICES),
    ),
    "certificate_expires_timestamp_seconds": Gauge(
        "When the first certificate of a service's hosts ends, as its calls saw it; nothing before a call over TLS.",
        "SELECT service, (SELECT min(c.value::float8) FROM jsonb_each_text(certificates) c "
        "WHERE c.value::float8 > extract(epoch FROM now())) FROM litgo.circuit_breakers",
        ("service",),
        most=len(SERVICES),
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
        _POOLS.format("spread_points"),
        ("pool",),
        most=POOLS,
    ),
    "equity_pool_utilisation": Gauge(
        "Mean share of their capacity that the lawyers of a pool were offered in 30 days; the largest 300 pools.",
        _POOLS.format("utilisation"),
        ("pool",),
        most=POOLS,
    ),
    "equity_offer_target": Gauge(
        "What the distribution of offers should reach: Gini and spread at most, coverage at least.",
        "VALUES ('gini', 0.3), ('coverage', 0.8), ('spread_points', 20)",
        ("what",),
        every=3600,
        most=3,
    ),
    "equity_last_night_timestamp_seconds": Gauge(
        "The instant of the newest night with equity figures.",
        "SELECT extract(epoch FROM max(as_of)) FROM litgo.offer_distribution",
    ),
    "last_backup_timestamp_seconds": Gauge(
        "When the newest backup was made; no series before the first.",
        # not those of a clock that was ahead
        "SELECT extract(epoch FROM max(made_at)) FROM litgo.backups WHERE made_at <= now() + interval '5 minutes'",
        every=60,
    ),
    "case_queue_oldest_age_seconds": Gauge(
        "Age of the oldest case of the last two weeks that was never matched and waits for no person; 0 without one.",
        sql("litgo_pipelines.observability", "case_queue.sql"),
    ),
    "urgent_waits_cases": Gauge(
        "Cases that wait for triage, or for a person's review, by the urgency they are known to have.",
        f"SELECT stage, urgency, cases FROM ({_URGENT}) AS w",
        ("stage", "urgency"),
        every=30,
        most=10,
    ),
    "urgent_waits_oldest_age_seconds": Gauge(
        "For how long the oldest of them has waited; 0 without one.",
        f"SELECT stage, urgency, oldest FROM ({_URGENT}) AS w",
        ("stage", "urgency"),
        every=30,
        most=10,
    ),
    "contract_queue_oldest_age_seconds": Gauge(
        "Age of the oldest contract of the last 30 days that nobody has sent for signature yet; 0 without one.",
        sql("litgo_pipelines.observability", "contract_queue.sql"),
    ),
    "outbox_oldest_age_seconds": Gauge(
        "Age of the oldest message that is not delivered yet; 0 without one.",
        "SELECT greatest(0, coalesce(extract(epoch FROM now() - min(coalesce(retried_at, created_at))), 0)) "
        "FROM litgo.outbox WHERE status = 'pending'",
    ),
    "outbox_pending_messages": Gauge(
        "Messages that are not delivered yet.", "SELECT count(*) FROM litgo.outbox WHERE status = 'pending'"
    ),
    "outbox_dead_messages": Gauge(
        "Messages that could not be delivered within a day.",
        "SELECT count(*) FROM litgo.outbox WHERE status = 'dead'",
    ),
    "offer_outcomes": Gauge(
        "Offers whose term ended in the last 24 hours, by what they came to.",
        sql("litgo_pipelines.observability", "offer_outcomes.sql"),
        ("status",),
        every=60,
        most=4,
    ),
    "case_outcomes": Gauge(
        "Cases whose offers' term ended 1 to 8 days ago: with an interested lawyer, and those with a contract signed.",
        sql("litgo_pipelines.observability", "case_outcomes.sql"),
        ("outcome",),
        every=300,
        most=2,
    ),
    "area_cases": Gauge(
        "Cases offered in 30 days, by area; the 50 largest.",
        _BY_AREA.format("count(*)"),
        ("area",),
        every=300,
        most=AREAS,
    ),
    "area_accepted_ratio": Gauge(
        "Share of the cases offered in 30 days with an interested lawyer, by area.",
        _BY_AREA.format("avg(accepted::int)"),
        ("area",),
        every=300,
        most=AREAS,
    ),
    "matching_dead_letters": Gauge(
        "Cases that nobody could be found for in three tries.",
        "SELECT count(*) FROM litgo.matching_failures WHERE dead",
    ),
    "unattended": Gauge(
        "What waits with neither a next instant nor a person told; always 0.",
        unattended.gauge_query(),
        ("kind",),
        every=60,
        most=len(unattended.KINDS),
    ),
    "cases_waiting": Gauge(
        "Cases nobody can be offered now, and cases at the end of their rounds.",
        "SELECT w.reason, count(c.id) FROM (VALUES ('nobody'), ('rounds_over')) w (reason) "
        "LEFT JOIN litgo.case_waits v USING (reason) "
        "LEFT JOIN exported_cases c ON c.id = v.case_id AND c.status = 'pending_assignment' GROUP BY 1",
        ("reason",),
        most=2,
    ),
    "model_version_info": Gauge(
        "1 for the version that serves, or is tried.",
        "SELECT 'champion', version, 1 FROM litgo.current_champion UNION ALL "
        "SELECT 'challenger', treatment_version, 1 FROM litgo.experiments e WHERE layer = 'ranking' AND NOT EXISTS "
        "(SELECT FROM litgo.experiment_ends x WHERE x.experiment = e.experiment)",
        ("alias", "version"),
        most=20,
    ),
    "ab_test_metrics": Gauge(
        "Of each layer, figures of the experiment whose cutoff was closed last: an arm's, or the comparison's.",
        sql("litgo_pipelines.experiments", "ab_test_metrics.sql"),
        ("experiment", "variant", "metric"),
        most=50,
    ),
    "quality_cusum": Gauge(
        "Evidence that the champion's rate is .7 of what it should be; limit 13.",
        sql("litgo_pipelines.monitoring", "cusum.sql"),
        ("against",),
        most=3,
    ),
    "quality_rate": Gauge(
        "Accepted of the day's final outcomes, and the reference.",
        sql("litgo_pipelines.monitoring", "rates.sql"),
        ("what",),
        most=3,
    ),
    "model_rollbacks": Gauge(
        "Rollbacks by reason, from the append-only ledger.",
        "SELECT v.reason, count(l.sequence) FROM (VALUES ('cusum'), ('window'), ('floor'), ('errors'), "
        "('null_features'), ('by_hand')) AS v (reason) LEFT JOIN litgo.model_ledger l ON l.transition = 'rolled_back' "
        "AND coalesce(l.evidence ->> 'kind', 'by_hand') = v.reason GROUP BY 1",
        ("reason",),
        most=6,
    ),
    "experiments_ended": Gauge(
        "Experiments that ended, by how.",
        "SELECT v.outcome, count(e.experiment) FROM (VALUES ('promote'), ('roll_back'), ('halt'), ('futile'), "
        "('horizon'), ('stopped')) v (outcome) LEFT JOIN litgo.experiment_ends e USING (outcome) GROUP BY 1",
        ("outcome",),
        most=6,
    ),
    "database_size_bytes": Gauge("Size of the database.", "SELECT pg_database_size(current_database())", every=300),
    "database_connections": Gauge(
        "Connections to the database, by state.",
        "SELECT coalesce(state, 'other'), count(*) FROM pg_stat_activity WHERE datname = current_database() GROUP BY 1",
        ("state",),
        most=10,
    ),
    "database_read_only": Gauge(
        "1: the database takes no writes, for its disk is full or it is a replica.",
        "SELECT (current_setting('default_transaction_read_only') = 'on' OR pg_is_in_recovery())::int",
    ),
    "database_max_connections": Gauge(
        "Connections the server allows.", "SELECT current_setting('max_connections')::int", every=3600
    ),
    "job_last_success_timestamp_seconds": Gauge(
        "When a job's newest run that succeeded ended.",
        "SELECT job_name, (SELECT extract(epoch FROM max(ended_at)) FROM litgo.job_runs r "
        "WHERE r.job_name = j.job_name AND status = 'success') "
        f"FROM unnest('{{{','.join(JOB_NAMES)}}}'::text[]) AS j (job_name)",
        ("job_name",),
        most=len(JOB_NAMES),
    ),
}


def read(cursor: Cursor, names: Iterable[str] = tuple(GAUGES)) -> dict[str, list[Sample]]:
    """The samples of these gauges. Raises what the database raises: a gauge that cannot be read is no zero."""
    found: dict[str, list[Sample]] = {}
    for name in names:
        gauge = GAUGES[name]
        cursor.execute(gauge.query)
        rows = [row for row in cursor if row[-1] is not None][: gauge.most]
        found[name] = [(tuple(str(value) for value in row[:-1]), float(row[-1])) for row in rows]
    return found


def read_each(cursor: Cursor, names: Iterable[str]) -> tuple[dict[str, list[Sample]], dict[str, str]]:
    """As `read`, and gauge → why of those that cannot be read; they hold up none of the others.

    Raises what the database raises when the connection is gone.
    """
    found: dict[str, list[Sample]] = {}
    failed: dict[str, str] = {}
    for name in names:
        cursor.execute("SAVEPOINT gauge")
        try:
            found |= read(cursor, [name])
        except psycopg2.Error as error:
            if cursor.connection.closed or isinstance(error, psycopg2.InterfaceError):
                raise
            failed[name] = error_kind(error)
            cursor.execute("ROLLBACK TO SAVEPOINT gauge")
        cursor.execute("RELEASE SAVEPOINT gauge")
    return found, failed
