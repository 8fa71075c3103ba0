"""Draws docs/dashboards/*.png from an invented week, backfilled into a real Prometheus.

    python -m litgo_pipelines_tests.deploy.pictures

The week has the rhythm of the simulated demand and one outage: OpenAI does not answer for 40 minutes. Its figures say
nothing about what the system can do; those are in docs/benchmarks.md and docs/evaluation.md.
"""

import math
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.observability.metrics import METRICS
from litgo_pipelines.simulation import truth, words
from litgo_pipelines.tools.dashboards import picture
from litgo_pipelines_tests.worlds.prometheus import RULES, watching

FOLDER = RULES.parents[1] / "docs" / "dashboards"
END = datetime(2026, 6, 30, 18, 0, tzinfo=UTC).timestamp()  # a Tuesday, 15:00 in São Paulo
SCRAPE, DAYS = 240, 7
AT = np.arange(END - DAYS * 86_400, END + 1, SCRAPE)
OUTAGE = (AT > END - 3 * 3600) & (AT < END - 3 * 3600 + 2400)
_LOCAL = [datetime.fromtimestamp(t, ZoneInfo("America/Sao_Paulo")) for t in AT]
BUSY = np.array(
    [truth.WEEKDAY[t.weekday()] / truth.WEEKDAY.mean() * truth.HOURLY[t.hour] / truth.HOURLY.mean() for t in _LOCAL]
)
DOWN = np.where(OUTAGE, 1.0, 0.0)
RNG = np.random.default_rng(3)
Curve = NDArray[np.float64]

# Of a counter, by its labels' values in METRICS' order: events an hour.
RATES: Mapping[str, Mapping[tuple[str, ...], Curve | float]] = {
    "triage_requests_total": {("classified",): 44 * BUSY, ("review",): 5 * BUSY, ("failed",): 0.05 * BUSY},
    "triage_source_total": {
        ("openai",): 30 * BUSY * (1 - DOWN),
        ("local",): 6 * BUSY + 30 * BUSY * DOWN,
        ("client",): 9 * BUSY,
        ("person",): 4 * BUSY,
    },
    "triage_openai_fallback_total": {
        ("timeout",): 20 * BUSY * DOWN,
        ("skipped",): 10 * BUSY * DOWN,
        ("invalid",): 0.4 * BUSY,
        ("refused",): 0.1 * BUSY,
    },
    "openai_withheld_total": {
        ("triage", "no_consent"): 4 * BUSY,
        ("triage", "area"): 6 * BUSY,
        ("triage", "text"): 3 * BUSY,
        ("embedding", "no_consent"): 4 * BUSY,
        ("embedding", "area"): 9 * BUSY,
        ("embedding", "text"): 1.5 * BUSY,
    },
    "matches_found_total": {(): 46 * BUSY},
    "ranker_used_total": {("model",): 42 * BUSY, ("hand_weights",): 4 * BUSY},
    "matching_failures_total": {("retried",): 0.9 * BUSY, ("dead",): 0.02 * BUSY},
    "notifications_possible_duplicates_total": {("push",): 0.05 * BUSY},
    "offers_created_total": {(): 225 * BUSY},
    "offers_explored_total": {(): 4.6 * BUSY},
    "offers_expired_total": {(): 70 * BUSY},
    "api_requests_total": {
        ("openai", "chat_completion", "ok"): 36 * BUSY * (1 - DOWN),
        ("openai", "embeddings", "ok"): 20 * BUSY * (1 - DOWN),
        ("openai", "chat_completion", "timeout"): 20 * BUSY * DOWN,
        ("openai", "chat_completion", "circuit_open"): 30 * BUSY * DOWN,
        ("openai", "chat_completion", "invalid"): 0.04 * BUSY,
        ("docusign", "create_envelope", "ok"): 9 * BUSY,
        ("docusign", "read_envelope", "ok"): 30.0,
        ("onesignal", "push", "ok"): 180 * BUSY,
        ("onesignal", "push", "rate_limited"): 0.1 * BUSY,
        ("sendgrid", "mail", "ok"): 60 * BUSY,
    },
    "api_attempts_total": {
        ("openai", "chat_completion", "ok"): 56 * BUSY * (1 - DOWN),
        ("openai", "chat_completion", "timeout"): 60 * BUSY * DOWN,
        ("docusign", "create_envelope", "ok"): 30 + 9 * BUSY,
        ("onesignal", "push", "ok"): 180 * BUSY,
        ("sendgrid", "mail", "ok"): 60 * BUSY,
    },
    "api_timeouts_total": {("openai",): 0.1 * BUSY + 60 * BUSY * DOWN, ("docusign",): 0.1 * BUSY},
    "fallback_usage_total": {
        ("openai", "timeout"): 20 * BUSY * DOWN,
        ("openai", "circuit_open"): 28 * BUSY * DOWN,
        ("openai", "invalid"): 0.4 * BUSY,
        ("docusign", "unavailable"): 0.2 * BUSY,
    },
    "embedding_source_total": {("local",): 95 * BUSY, ("openai",): 48 * BUSY * (1 - DOWN)},
    "contract_creation_method_total": {("docusign",): 8.8 * BUSY, ("manual",): 0.3 * BUSY},
    "contracts_signed_total": {(): 7 * BUSY},
    "notifications_sent_total": {
        ("push", "accepted"): 175 * BUSY,
        ("email", "accepted"): 58 * BUSY,
        ("push", "merged"): 30 * BUSY,
        ("push", "failed"): 0.6 * BUSY,
    },
    "job_executions_total": {
        ("matching", "success"): 40 * BUSY,
        ("contracts", "success"): 20 * BUSY,
        ("notifications", "success"): 60 * BUSY,
        ("quality_checks", "success"): 12.0,
        ("experiments", "success"): 4.0,
        ("offer_expiry", "success"): 1.0,
        ("matching", "failure"): 6 * DOWN,
    },
}
BEFORE: Mapping[tuple[str, ...], int] = {  # counted before the week
    ("candidate",): 11,
    ("challenger",): 8,
    ("champion",): 7,
    ("archived",): 9,
    ("rolled_back",): 1,
    ("freeze_lifted",): 1,
    ("volume",): 10,
    ("manual",): 1,
}
# Of a histogram: events an hour, median in seconds, spread of its logarithm.
TIMES: Mapping[str, Mapping[tuple[str, ...], tuple[Curve, Curve | float, float]]] = {
    "triage_duration_seconds": {(): (49 * BUSY, 1.4 + 20 * DOWN, 0.5)},
    "case_to_offers_seconds": {(): (46 * BUSY, 6.0 + 90 * DOWN, 0.5)},
    "matching_duration_seconds": {(): (46 * BUSY, 0.12 + 0.1 * BUSY, 0.7)},
    "notification_duration_seconds": {("push",): (175 * BUSY, 6.0, 0.8), ("email",): (58 * BUSY, 9.0, 0.9)},
    "external_api_duration_seconds": {
        ("openai", "chat_completion"): (56 * BUSY, 1.2 + 40 * DOWN, 0.4),
        ("docusign", "create_envelope"): (39 * BUSY, 0.9, 0.4),
        ("onesignal", "push"): (180 * BUSY, 0.12, 0.5),
        ("sendgrid", "mail"): (60 * BUSY, 0.2, 0.5),
    },
    "job_duration_seconds": {
        ("matching",): (40 * BUSY, 4.0, 0.4),
        ("contracts",): (20 * BUSY, 3.0, 0.3),
        ("notifications",): (60 * BUSY, 2.0, 0.3),
        ("quality_checks",): (12 + 0 * BUSY, 1.5, 0.2),
        ("experiments",): (4 + 0 * BUSY, 2.2, 0.2),
    },
}


def wander(start: float, size: float, low: float = 0.0, high: float = math.inf) -> Curve:
    """Goes up and down around its start."""
    pull = np.exp(-np.arange(len(AT)) / 200)
    return np.clip(start + size * np.convolve(RNG.normal(size=len(AT)), pull)[: len(AT)] / 10, low, high)


def nightly(values: Curve) -> Curve:
    """What is computed once a night stays until the next."""
    night = np.searchsorted(AT, (AT - 5 * 3600) // 86_400 * 86_400 + 5 * 3600)
    return values[np.minimum(night, len(AT) - 1)]


def waiting(top: float) -> Curve:
    """Age of the oldest in a queue that is emptied all the time, seconds."""
    return top * RNG.beta(2, 5, len(AT)) * np.minimum(BUSY + 0.2, 1.2)


def gauges() -> Iterator[tuple[str, Mapping[str, str], Curve | float]]:
    """Name, labels, values of each series."""
    openai = 1 - DOWN
    parts: dict[str, Curve | float] = {
        "database": 1.0,
        "daemons": 1.0,
        "jobs": 1 - 0.1 * DOWN,
        "queues": 1.0,
        "breakers": 0.75 + 0.25 * openai,
        "champion": 1.0,
    }
    yield "system_health_score", {}, 0.925 + 0.075 * openai
    for part, values in parts.items():
        yield "system_health_part", {"part": part}, values
    yield "litgo_build_info", {"version": "0.1.0", "python": "3.11", "dagster": "1.13.0"}, 1.0
    yield from (("litgo_source_up", {"source": s}, 1.0) for s in ("database", "statistics", "dagster"))
    yield "litgo_metrics_age_seconds", {}, 1 + 9 * RNG.random(len(AT))
    yield "active_offers_count", {}, 2300 + 1500 * np.convolve(BUSY - 1, np.ones(180) / 180, "same")
    yield "pending_contracts_count", {}, wander(41, 4, 5).round()
    for service in ("openai", "docusign", "onesignal", "sendgrid"):
        half = OUTAGE & (AT % 960 < 240)
        yield "circuit_breaker_state", {"service": service}, np.where(half, 0.5, DOWN) if service == "openai" else 0.0
        down = service == "openai"
        yield "service:fallback_active:bool5m", {"service": service}, DOWN if down else 0.0
    yield "equity_offer_gini", {}, nightly(wander(0.272, 0.008))
    yield "equity_offer_coverage", {}, nightly(wander(0.86, 0.008))
    areas = list(words.AREAS)
    pools = [f"{area} · {state}" for area in areas[:6] for state in ("SP", "RJ", "MG")]
    for n, pool in enumerate(pools):
        yield "equity_spread_points", {"pool": pool}, nightly(wander(9 + (n * 7) % 11, 0.8))
        yield "equity_pool_utilisation", {"pool": pool}, nightly(wander(0.35 + (n * 5) % 13 / 20, 0.02))
    yield "equity_last_night_timestamp_seconds", {}, (AT - 5 * 3600) // 86_400 * 86_400 + 5 * 3600
    yield from (
        ("equity_offer_target", {"what": w}, v) for w, v in (("gini", 0.3), ("coverage", 0.8), ("spread_points", 20.0))
    )
    day = 225 * 24 * np.convolve(BUSY, np.ones(360) / 360, "same")
    for status, share in (("interested", 0.34), ("declined", 0.31), ("expired", 0.33), ("other", 0.02)):
        yield "offer_outcomes", {"status": status}, (day * share * wander(1, 0.02)).round()
    yield "case_outcomes", {"outcome": "interested"}, wander(5200, 60).round()
    yield "case_outcomes", {"outcome": "signed"}, wander(2450, 40).round()
    for n, area in enumerate(areas):
        yield "area_cases", {"area": area}, wander(7200 / (n + 1.4), 30).round()
        yield "area_accepted_ratio", {"area": area}, nightly(wander(0.3 + 0.03 * ((n * 5) % 7 - 3), 0.01))
    yield "case_queue_oldest_age_seconds", {}, waiting(70) + 400 * DOWN
    yield "contract_queue_oldest_age_seconds", {}, waiting(55)
    yield "outbox_oldest_age_seconds", {}, waiting(300)
    yield "outbox_pending_messages", {}, (14 * BUSY).round()
    yield "outbox_dead_messages", {}, 2.0
    yield "matching_dead_letters", {}, np.where(AT > END - 9 * 3600, 3.0, 1.0)
    yield from (("cases_waiting", {"reason": r}, v) for r, v in (("nobody", (6 * BUSY).round()), ("rounds_over", 9.0)))
    yield from (("unattended", {"kind": k}, 0.0) for k in ("case", "contract", "message", "batch", "review"))
    yield from (
        ("dagster_runs", {"status": s}, v)
        for s, v in (("queued", (BUSY * DOWN * 4).round()), ("started", (1 + BUSY).round()))
    )
    yield "dagster_oldest_queued_run_age_seconds", {}, 8 * BUSY + 240 * DOWN
    for n, daemon in enumerate(("SENSOR", "SCHEDULER", "ASSET", "QUEUED_RUN_COORDINATOR", "MONITORING")):
        yield "dagster_daemon_heartbeat_timestamp_seconds", {"daemon": daemon}, AT - 5 - 24 * RNG.random(len(AT)) - n
    for n, sensor in enumerate(
        ("pending_cases", "contracts", "notifications", "missed_nights", "experiments", "quality")
    ):
        yield "dagster_last_tick_timestamp_seconds", {"name": f"{sensor}_sensor"}, AT - 12 - 47.0 * n
        yield "dagster_tick_failures", {"name": f"{sensor}_sensor"}, 2 * DOWN if sensor == "pending_cases" else 0.0
    hours = {"nightly_equity": (26, 10.1), "evidence": (26, 9.6), "embeddings": (26, 9.0), "offer_expiry": (3, 0.9)}
    for job, (limit, late) in hours.items():
        yield "job_freshness_limit_seconds", {"job_name": job}, limit * 3600.0
        yield "job_last_success_timestamp_seconds", {"job_name": job}, AT - late * 3600
    yield "model_version_info", {"alias": "champion", "version": "7"}, 1.0
    yield "model_version_info", {"alias": "challenger", "version": "8"}, 1.0
    yield from (("model_rollbacks", {"reason": r}, v) for r, v in (("cusum", 1.0), ("window", 0.0), ("by_hand", 0.0)))
    yield from (("experiments_ended", {"outcome": o}, v) for o, v in (("promote", 5.0), ("futile", 2.0), ("halt", 0.0)))
    since = (AT - AT[0]) / (AT[-1] - AT[0])
    for arm, level in (("control", 0.31), ("treatment", 0.334)):
        curve = level + 0.02 * np.exp(-6 * since) * RNG.normal(size=len(AT)).cumsum() / 30
        yield "ab_test_metrics", {"experiment": "ranker-v8", "variant": arm, "metric": "conversion_rate"}, curve
    for metric, values in (
        ("log_e_better", 2.4 * since + wander(0.2, 0.05)),
        ("log_e_worse", wander(0.3, 0.05)),
        ("log_e_limit", 3.69),
    ):
        yield "ab_test_metrics", {"experiment": "ranker-v8", "variant": "comparison", "metric": metric}, values
    for what, level in (("champion", 0.33), ("holdout", 0.29), ("reference", 0.31)):
        yield "quality_rate", {"what": what}, level if what == "reference" else wander(level, 0.012)
    for against in ("reference", "holdout", "holdout_own"):
        yield "quality_cusum", {"against": against}, wander(0.6, 0.5)
    yield "database_up", {}, 1.0
    yield "database_size_bytes", {}, 41.0e9 + 1.4e9 * since
    yield "disk_size_bytes", {}, 200e9
    yield "disk_free_bytes", {}, 122e9 - 2.1e9 * since
    for state, level in (("active", 4), ("idle", 17), ("idle in transaction", 1)):
        yield "database_connections", {"state": state}, wander(level, 0.8).round()
    yield "database_max_connections", {}, 100.0


def openmetrics() -> Iterator[str]:
    """The week as text, family by family."""

    def lines(name: str, labels: Mapping[str, str], values: Curve | float) -> Iterator[str]:
        inner = ",".join(f'{label}="{value}"' for label, value in labels.items())
        for at, value in zip(AT, np.broadcast_to(values, AT.shape), strict=True):
            yield f"{name}{{{inner}}} {value:.12g} {at:.0f}"

    chance = RNG.gamma(9, 1 / 9, len(AT))  # one for all: what is a share of something else stays one

    def total(hourly: Curve | float) -> Curve:
        """Counted so far, in whole events."""
        return np.floor(np.cumsum(np.broadcast_to(hourly, AT.shape) * chance * SCRAPE / 3600))

    for name, metric in METRICS.items():
        yield f"# TYPE {name.removesuffix('_total')} {'histogram' if metric.buckets else 'counter'}"
        shown = RATES.get(name, {}).keys() | TIMES.get(name, {}).keys()
        for values in product(*metric.labels.values()):
            if name.startswith(("api_", "job_")) and values not in shown:
                continue  # hundreds of zeros
            labels = dict(zip(metric.labels, values, strict=True))
            if not metric.buckets:
                yield from lines(name, labels, total(RATES.get(name, {}).get(values, 0.0)) + BEFORE.get(values, 0))
            elif (known := TIMES.get(name, {}).get(values)) is not None:
                hourly, median, spread = known
                cumulated: Curve = np.zeros(len(AT))
                below = np.zeros(len(AT))
                for limit in (*metric.buckets, math.inf):
                    upper = _normal((np.log(limit) - np.log(median)) / spread) + 0 * AT
                    cumulated = cumulated + total(hourly * (upper - below))
                    below = upper
                    yield from lines(f"{name}_bucket", {**labels, "le": f"{limit:g}".replace("inf", "+Inf")}, cumulated)
    family = ""
    for name, gauge_labels, gauge_values in sorted(gauges(), key=lambda series: series[0]):
        if name != family:
            family = name
            yield f"# TYPE {name} gauge"
        yield from lines(name, gauge_labels, gauge_values)
    yield "# EOF\n"


_normal: Callable[..., Curve] = np.vectorize(lambda z: (1 + math.erf(z / math.sqrt(2))) / 2)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        history = folder / "history.txt"
        history.write_text("\n".join(openmetrics()), encoding="utf-8")
        subprocess.run(
            ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(history), str(folder / "tsdb")],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with watching(folder) as url:
            picture.main([url, f"--folder={FOLDER}", f"--scrape={SCRAPE}", f"--end={END}"])


if __name__ == "__main__":
    main()
