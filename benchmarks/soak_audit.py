"""Audit of a soak run, from the rows, Dagster's storage and the vendors' own records.

Belongs here: questions and their answers. Starting, feeding and killing is `soak`'s; words and tables `soak_page`'s.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.soak_vendors import Vendors
from litgo_pipelines.database import Cursor
from litgo_pipelines.observability import unattended

LOOP_SECONDS = 5  # of Dagster's daemon: sensors are looked at no more often
COOLED_DOWN = timedelta(seconds=60)  # a case that comes within a minute after a kill came during it

# Each gives how many rows break a rule. `since`: when feeding began; `offers`: the most a round has.
RULES = {
    "cases without offers and without a reason": """
        SELECT count(*) FROM cases c WHERE c.created_at > %(since)s AND c.status = 'pending_assignment'
        AND NOT EXISTS (SELECT FROM litgo.matchings m WHERE m.case_id = c.id)
        AND NOT EXISTS (SELECT FROM litgo.matching_failures f WHERE f.case_id = c.id)
        AND NOT EXISTS (SELECT FROM litgo.triage t WHERE t.case_id = c.id AND t.status = 'review')""",
    "matchings without an offer": """
        SELECT count(*) FROM litgo.matchings m WHERE NOT EXISTS (
        SELECT FROM offers o WHERE o.case_id = m.case_id AND o.sent_at = m.matched_at)""",
    "offers made twice to one lawyer for one case": """
        SELECT count(*) FROM (SELECT FROM offers o JOIN litgo.matchings m USING (case_id) WHERE o.sent_at = m.matched_at
        GROUP BY o.case_id, o.lawyer_id HAVING count(*) > 1) twice""",
    "rounds with more than five offers": """
        SELECT count(*) FROM (SELECT FROM offers o JOIN litgo.matchings m ON m.case_id = o.case_id
        AND o.sent_at = m.matched_at GROUP BY m.case_id, m.round HAVING count(*) > 5) many""",
    "offers without a message": """
        SELECT count(*) FROM offers o JOIN litgo.matchings m ON m.case_id = o.case_id AND o.sent_at = m.matched_at
        WHERE NOT EXISTS (SELECT FROM litgo.outbox x
            WHERE x.kind = 'offer' AND x.payload ->> 'offer_id' = o.id::text)""",
    "messages that still wait": "SELECT count(*) FROM litgo.outbox WHERE status = 'pending'",
    "messages that are dead": "SELECT count(*) FROM litgo.outbox WHERE status = 'dead'",
    "messages settled by a delivery that was not sent": """
        SELECT count(*) FROM litgo.outbox o LEFT JOIN litgo.deliveries d USING (delivery_id)
        WHERE o.status IN ('accepted', 'merged') AND d.status IS DISTINCT FROM 'accepted'""",
    "batches left open": "SELECT count(*) FROM litgo.matching_batches WHERE finished_at IS NULL",
    "contracts left without a request, or in the middle of one": """
        SELECT count(*) FROM contracts k LEFT JOIN litgo.contract_requests r ON r.contract_id = k.id
        WHERE k.status = 'pending-signature' AND (r.status IS NULL OR r.status = 'sending')""",
}

# Counter (rows of the metric state that match name and labels) → the rows it counts, as a total over the run.
COUNTED = {
    ("offers_created_total", "{}"): "SELECT count(*) FROM offers",
    ("matches_found_total", "{}"): "SELECT count(*) FROM litgo.matchings",
    ("matching_duration_seconds_bucket", "{}"): "SELECT count(*) FROM litgo.matchings",
    ("offers_expired_total", "{}"): "SELECT count(*) FROM offers WHERE status = 'expired'",
    (
        "triage_requests_total",
        '{"status": "classified"}',
    ): "SELECT count(*) FROM litgo.triage WHERE status = 'classified'",
    ("triage_requests_total", '{"status": "review"}'): "SELECT count(*) FROM litgo.triage WHERE status = 'review'",
    (
        "notifications_sent_total",
        '{"status": "accepted"}',
    ): "SELECT count(*) FROM litgo.deliveries WHERE status = 'accepted'",
    ("notifications_sent_total", '{"status": "merged"}'): "SELECT count(*) FROM litgo.outbox WHERE status = 'merged'",
    (
        "notification_duration_seconds_bucket",
        "{}",
    ): "SELECT count(*) FROM litgo.outbox WHERE status IN ('accepted', 'merged')",
    (
        "contract_creation_method_total",
        '{"method": "docusign"}',
    ): "SELECT count(*) FROM litgo.contract_requests WHERE method = 'docusign'",
    (
        "contract_creation_method_total",
        '{"method": "manual"}',
    ): "SELECT count(*) FROM litgo.contract_requests WHERE method = 'manual'",
    # both parties' signatures, and not the marketplace by itself, made it active
    ("contracts_signed_total", "{}"): """
        SELECT count(*) FROM litgo.contract_requests r WHERE r.status = 'signed' AND 2 = (
        SELECT count(DISTINCT split_part(e.event, ':', 2)) FROM litgo.contract_events e
        WHERE e.contract_id = r.contract_id AND e.event LIKE 'signed%')""",
    ("job_executions_total", "{}"): "SELECT count(*) FROM litgo.job_runs",
    ("model_transitions_total", "{}"): "SELECT count(*) FROM litgo.model_ledger",
    ("retrainings_total", "{}"): "SELECT count(*) FROM litgo.retrainings",
}


def totals(cursor: Cursor) -> dict[str, tuple[int, int]]:
    """Counter with its labels → (counted, rows) as they are now."""
    found = {}
    for (name, labels), query in COUNTED.items():
        cursor.execute(
            "SELECT coalesce(sum(value), 0)::bigint FROM litgo.metric_state WHERE name = %s AND labels @> %s::jsonb",
            (name, labels),
        )
        (counted,) = cursor.fetchone()
        cursor.execute(query)
        found[name + ("" if labels == "{}" else labels.replace('"', "").replace(": ", "="))] = (
            counted,
            cursor.fetchone()[0],
        )
    return found


def miscounted(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> dict[str, tuple]:
    """Counter → (counted, rows) added between the two, where they differ."""
    added = {name: (after[name][0] - before[name][0], after[name][1] - before[name][1]) for name in after}
    return {name: pair for name, pair in added.items() if pair[0] != pair[1]}


def broken_rules(cursor: Cursor, since: datetime) -> dict[str, int]:
    found = {}
    for name, query in RULES.items():
        cursor.execute(query, {"since": since})
        (found[name],) = cursor.fetchone()
    unseen = unattended.find(cursor, datetime.now(UTC))
    for kind in unattended.KINDS:
        found[f"{kind} that waits unseen"] = sum(each.kind == kind for each in unseen)
    return found


class Deliveries(NamedTuple):
    """`lost`: sent by the database, unknown to the vendor. `unknown`: sent by the vendor, neither sent nor in doubt in
    the database. `repeated`: what a person got more than once; `admitted`: counted as a possible duplicate."""

    sent: int
    lost: int
    unknown: int
    repeated: int
    admitted: int


def deliveries(cursor: Cursor, vendors: Vendors) -> Deliveries:
    """What the database says was delivered against what the vendors took."""
    cursor.execute("SELECT delivery_id::text, status, in_doubt FROM litgo.deliveries")
    rows = cursor.fetchall()
    cursor.execute(
        "SELECT coalesce(sum(value), 0)::int FROM litgo.metric_state "
        "WHERE name = 'notifications_possible_duplicates_total'"
    )
    (admitted,) = cursor.fetchone()
    # a push arrives once under its key, however often it was asked for
    arrived = Counter(dict.fromkeys(vendors.onesignal.pushes, 1)) + vendors.sendgrid.mails
    believed = {delivery for delivery, status, _ in rows if status == "accepted"}
    possible = believed | {delivery for delivery, _, doubt in rows if doubt}
    return Deliveries(
        len(believed),
        len(believed - set(arrived)),
        len(set(arrived) - possible),
        sum(n - 1 for n in arrived.values()),
        admitted,
    )


def envelopes(cursor: Cursor, vendors: Vendors) -> tuple[int, int, int]:
    """Envelopes at DocuSign; contracts with more than one that can be signed; contracts whose envelope is not there."""
    docusign = vendors.docusign
    alive = Counter(docusign.envelopes[each]["transactionId"] for each in docusign.live())
    cursor.execute("SELECT envelope_id FROM litgo.contract_requests WHERE envelope_id IS NOT NULL")
    known = {row[0] for row in cursor.fetchall()}
    return len(docusign.envelopes), sum(n > 1 for n in alive.values()), len(known - set(docusign.envelopes))


def latencies(cursor: Cursor, since: datetime, kills: Sequence[datetime]) -> dict[str, NDArray]:
    """Seconds from a case to its offers' commit, of the cases that came since then: of all; of those that no kill, or
    the minute after one, touched; of the others. Needs track_commit_timestamp."""
    cursor.execute(
        "SELECT extract(epoch FROM c.created_at)::float8, extract(epoch FROM pg_xact_commit_timestamp(m.xmin))::float8 "
        "FROM cases c JOIN litgo.matchings m ON m.case_id = c.id AND m.round = 1 WHERE c.created_at > %s",
        (since,),
    )
    came, offered = np.array(cursor.fetchall(), dtype=float).reshape(-1, 2).T
    killed = touched(came, offered, np.array([kill.timestamp() for kill in kills]))
    seconds = offered - came
    return {"all": seconds, "without a kill": seconds[~killed], "with a kill": seconds[killed]}


def touched(came: NDArray, ended: NDArray, kills: NDArray) -> NDArray:
    """Bool a case: a kill fell between a minute before it came and its end. All are unix seconds."""
    early = came[:, None] - COOLED_DOWN.total_seconds()
    return np.asarray(((kills >= early) & (kills <= ended[:, None])).any(axis=1))


def growth(samples: Mapping[int, Sequence[tuple[float, float]]], warm_up: float) -> tuple[float, float]:
    """(bytes per hour, its standard error) of what one process of a kind holds, over all it had: least squares with a
    level of its own a process. `samples`: pid → (seconds, bytes); a process's first `warm_up` seconds are left out. NaN
    with too little to say."""
    times, sizes, processes = [], [], 0
    for pairs in samples.values():
        at, size = np.array(pairs, dtype=float).reshape(-1, 2).T
        warm = at >= at[0] + warm_up if len(at) else np.zeros(0, bool)
        if warm.sum() > 2:
            times.append(at[warm] - at[warm].mean())
            sizes.append(size[warm] - size[warm].mean())
            processes += 1
    if not times:
        return float("nan"), float("nan")
    time, size = np.concatenate(times), np.concatenate(sizes)
    spread, left = float(time @ time), len(time) - processes - 1
    slope = float(time @ size) / spread
    rest = size - slope * time
    return slope * 3600, float(np.sqrt(rest @ rest / left / spread)) * 3600 if left > 0 else float("nan")


@dataclass(frozen=True)
class Runs:
    """Of Dagster's runs in the window. `unmended`: jobs that failed and did not succeed later; `uncounted`: runs that
    ended and are not in litgo.job_runs, or the other way round."""

    ended: Counter[tuple[str, str]]  # (job, status)
    retried: int
    unmended: list[str]
    uncounted: int


def runs(dagster: Any, litgo: Any, since: datetime) -> Runs:
    """`dagster`, `litgo`: cursors of the two databases."""
    dagster.execute(
        "SELECT run_id, pipeline_name, status, coalesce(end_time, extract(epoch FROM update_timestamp))::float8, "
        "EXISTS (SELECT FROM public.run_tags t WHERE t.run_id = r.run_id AND t.key = 'dagster/retry_number') "
        "FROM public.runs r WHERE r.create_timestamp > %s",
        (since.astimezone(UTC).replace(tzinfo=None),),
    )
    rows = dagster.fetchall()
    over = [row for row in rows if row[2] in ("SUCCESS", "FAILURE", "CANCELED")]
    good = [(job, at) for _, job, status, at, _ in over if status == "SUCCESS"]
    bad = {
        job
        for _, job, status, at, _ in over
        if status == "FAILURE" and not any(name == job and later > at for name, later in good)
    }
    litgo.execute("SELECT run_id FROM litgo.job_runs WHERE ended_at > %s", (since,))
    counted, ended = {row[0] for row in litgo.fetchall()}, {row[0] for row in over}
    dagster.execute("SELECT run_id FROM public.runs WHERE run_id = ANY(%s)", (list(counted - ended),))
    older = {row[0] for row in dagster.fetchall()}
    return Runs(
        Counter((job, status) for _, job, status, _, _ in over),
        sum(bool(row[4]) for row in rows),
        sorted(bad),
        len((counted ^ ended) - older),
    )


def ticks(cursor: Cursor, since: datetime, until: datetime) -> dict[str, Counter[str]]:
    """Schedule or sensor → status → ticks in the window, of Dagster's storage."""
    window = [at.astimezone(UTC).replace(tzinfo=None) for at in (since, until)]
    cursor.execute(
        "SELECT tick_body::jsonb ->> 'job_name', status, count(*) FROM public.job_ticks "
        "WHERE timestamp BETWEEN %s AND %s GROUP BY 1, 2",
        window,
    )
    found: dict[str, Counter[str]] = {}
    for name, status, n in cursor.fetchall():
        found.setdefault(name, Counter())[status] += n
    return found


def due(since: datetime, until: datetime) -> dict[str, float]:
    """Schedule or sensor → how often it was due: a schedule by its cron, a sensor by its shortest interval, or by what
    a tick lasts that goes on looking; both in whole looks of the daemon's."""
    from dagster._utils.schedules import cron_string_iterator

    from litgo_pipelines import automation

    expected: dict[str, float] = {}
    for sensor in automation.sensors:
        interval = sensor.minimum_interval_seconds or 30
        looks = ceil((automation.TICK_LASTS if interval <= automation.EVERY_LOOK else interval) / LOOP_SECONDS)
        expected[sensor.name] = (until - since).total_seconds() / (looks * LOOP_SECONDS)
    for schedule in automation.schedules:
        resolved: Any = schedule
        cron = getattr(resolved, "cron_schedule", None)
        zone = getattr(resolved, "execution_timezone", None)
        if cron is None:  # made from a partitioned job, which is resolved with the definitions
            cron, zone = "0 2 * * *", "America/Sao_Paulo"
        times = cron_string_iterator(since.timestamp(), cron, zone)
        expected[schedule.name] = len(list(takewhile(lambda at: at <= until, times)))
    return expected


def fallback_share(scrapes: Sequence[tuple[float, Mapping[str, float]]], minute: float = 60.0) -> dict[str, float]:
    """Service → share of the minutes in which its fallback stood in at least once. `scrapes`: (seconds, service →
    fallbacks so far)."""
    if len(scrapes) < 2:
        return {}
    newest: dict[int, Mapping[str, float]] = {}
    for at, used in scrapes:
        newest[int((at - scrapes[0][0]) // minute)] = used
    levels = [scrapes[0][1], *(newest[key] for key in sorted(newest))]
    services = sorted({name for level in levels for name in level})
    return {
        service: sum(b.get(service, 0) > a.get(service, 0) for a, b in pairwise(levels)) / len(newest)
        for service in services
    }


def went_back(before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    """Series of counters that are lower than before. One that is not there is no lower one: an exporter that was just
    started has not read everything yet."""
    return [f"{name}: {value:g} → {after[name]:g}" for name, value in before.items() if after.get(name, value) < value]
