# ruff: noqa: E501 — Markdown does not wrap
"""False-alarm rate of the alerts in `deploy/prometheus/alerts.yml` on a healthy system.

    python -m benchmarks.alert_noise [--days 60] [--lawyers 2000] [--ratio 0.3]

Sixty days of the simulated marketplace, nights and weekends included, with the real allocation making the offers: its
hourly counts become what the exporter would have shown, scraped every two minutes. What a simulator cannot know is
assumed at a healthy level (HEALTHY) and drawn by chance. A real Prometheus holds the series and evaluates each alert's
expression; `for` is applied to what it answers. Printed: days on which an alert fired, though nothing was wrong.
"""

import argparse
import json
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.fair_allocation import CaseByCase
from litgo_pipelines.arrays import Floats
from litgo_pipelines.equity.distribution import LEAST_POOL
from litgo_pipelines.matching.allocation import Rule
from litgo_pipelines.matching.replay import Replay, price
from litgo_pipelines.observability.metrics import METRICS
from litgo_pipelines.simulation.truth import DAY, EXPIRED, HOUR, INTERESTED, Market, World
from litgo_pipelines.simulation.words import AREAS

RULES = Path(__file__).resolve().parent.parent / "deploy" / "prometheus"
END = datetime(2026, 6, 30, 5, tzinfo=UTC)
WARM_UP = 40  # days before the first that is looked at: 30 days of offers, a week until they are signed
STEP = 120  # seconds between two scrapes
LONG = 900  # seconds between two evaluations of expressions over many hours
# What the simulator does not know, as it is on good days.
HEALTHY = {
    "a run fails (and its retry does not)": 0.0004,
    "a call fails in spite of its retries, and the fallback stands in": 0.0003,
    "an attempt times out": 0.001,
    "a delivery fails and is tried again": 0.005,
    "a triage fails and is tried again": 0.001,
    "a case finds nobody at first": 0.01,
    "a person can be told by no channel, for a day": 0.0005,
}
RUN, CALL, TIMEOUT, DELIVERY, TRIAGE, NOBODY, UNREACHABLE = HEALTHY.values()


@dataclass
class Series:
    """Samples by series; `scrapes`: their instants, unix seconds."""

    scrapes: Floats
    values: dict[str, Floats | float] = field(default_factory=dict)

    def count(self, name: str, at: Floats) -> None:
        """A counter of the events at these instants."""
        self.values[name] = np.searchsorted(np.sort(at), self.scrapes, side="right").astype(float)

    def write(self, file: TextIO) -> None:
        """OpenMetrics; what never changes is written half as often."""
        stamps = [f" {stamp:.0f}\n" for stamp in self.scrapes]
        for name, values in self.values.items():
            if isinstance(values, float):
                file.writelines(f"{name} {values:g}{stamp}" for stamp in stamps[::2])
            else:
                pairs = zip(values.tolist(), stamps, strict=True)
                file.writelines(f"{name} {value:.12g}{stamp}" for value, stamp in pairs if value == value)
        file.write("# EOF\n")


@dataclass(frozen=True)
class Happened:
    """What the simulator says of the whole time, instants in unix seconds."""

    world: World
    replay: Replay
    pool: NDArray[np.int64]  # of each lawyer: area and state
    events: dict[str, dict[str, NDArray]]


def simulate(days: int, lawyers: int, ratio: float) -> Happened:
    world = World(5, lawyers, 1, days + WARM_UP, END)
    them = Market(world).lawyers
    room = float(them.capacity[them.available].sum()) * world.days / 30
    world = replace(world, cases=round(ratio * room))
    policy = CaseByCase(price(Rule()))
    blocks = list(Market(world, policy, candidates=None).events())
    events = {t: {c: np.concatenate([b[t][c] for b in blocks]) for c in blocks[0][t]} for t in blocks[0]}
    return Happened(world, policy.replay, them.primary_area * 27 + them.uf, events)


def series(happened: Happened, days: int, rng: np.random.Generator) -> Series:
    world, events = happened.world, happened.events
    start = world.stop - days * DAY
    found = Series(np.arange(start, world.stop, STEP, dtype=float))
    cases = events["cases"]["created"].astype(float)
    sent = events["offers"]["sent"].astype(float)
    _flow(found, cases, sent, rng)
    _services(found, cases, sent, rng)
    _jobs(found, cases, sent, rng)
    _platform(found, rng)
    _marketplace(found, happened)
    return found


def _flow(found: Series, cases: Floats, sent: Floats, rng: np.random.Generator) -> None:
    bad = rng.random(len(cases)) < TRIAGE
    found.count('triage_requests_total{status="classified"}', cases)
    found.count('triage_requests_total{status="failed"}', cases[bad])
    nobody = rng.random(len(cases)) < NOBODY
    found.count("matches_found_total", cases)
    found.count('matching_failures_total{outcome="retried"}', cases[nobody])
    found.values['matching_failures_total{outcome="dead"}'] = 0.0
    for name, median, spread in (("triage_duration_seconds", 2.0, 0.8), ("matching_duration_seconds", 0.05, 1.0)):
        seconds = median * np.exp(spread * rng.standard_normal(len(cases)))
        for limit in METRICS[name].buckets:
            found.count(f'{name}_bucket{{le="{float(limit)}"}}', cases[seconds <= limit])
        found.count(f'{name}_bucket{{le="+Inf"}}', cases)
        found.count(f"{name}_count", cases)
    matched = cases + rng.uniform(15, 60, len(cases)) + 300.0 * (bad | nobody)
    found.values["case_queue_oldest_age_seconds"] = _oldest(found.scrapes, cases, matched)
    contracts = sent[:: max(1, len(sent) // max(1, len(cases) // 2))]
    found.values["contract_queue_oldest_age_seconds"] = _oldest(
        found.scrapes, contracts, contracts + rng.uniform(30, 120, len(contracts))
    )
    told = sent + rng.uniform(10, 320, len(sent))  # a cooldown of five minutes
    told[rng.random(len(sent)) < UNREACHABLE] += DAY
    found.values["outbox_oldest_age_seconds"] = _oldest(found.scrapes, sent, told)
    found.values["outbox_pending_messages"] = _open(found.scrapes, sent, told)
    push = rng.random(len(sent)) < 0.7
    for kind, which in (("push", push), ("email", ~push)):
        again = told[which & (rng.random(len(sent)) < DELIVERY)]
        found.count(f'notifications_sent_total{{type="{kind}",status="accepted"}}', told[which])
        found.count(f'notifications_sent_total{{type="{kind}",status="failed"}}', again)


def _services(found: Series, cases: Floats, sent: Floats, rng: np.random.Generator) -> None:
    calls = {
        ("openai", "chat_completion"): cases,
        ("openai", "embeddings"): cases,
        ("docusign", "create_envelope"): cases[::2],
        ("docusign", "read_envelope"): np.repeat(cases[::2], 6) + rng.uniform(0, 2 * DAY, 6 * len(cases[::2])),
        ("onesignal", "push"): sent[::2],
        ("sendgrid", "mail"): sent[1::2],
    }
    for service in dict.fromkeys(service for service, _ in calls):
        every = np.concatenate([at for (owner, _), at in calls.items() if owner == service])
        failed = every[rng.random(len(every)) < CALL]
        found.count(f'fallback_usage_total{{service="{service}",reason="timeout"}}', failed)
        found.count(f'api_timeouts_total{{service="{service}"}}', every[rng.random(len(every)) < TIMEOUT])
        found.count(f'api_attempts_total{{service="{service}",outcome="ok"}}', every)
        found.count(f'api_requests_total{{service="{service}",outcome="ok"}}', every)
        found.count(f'api_requests_total{{service="{service}",outcome="timeout"}}', failed)
        found.values[f'circuit_breaker_state{{service="{service}"}}'] = 0.0


def _jobs(found: Series, cases: Floats, sent: Floats, rng: np.random.Generator) -> None:
    first, last = found.scrapes[0] - 2 * DAY, found.scrapes[-1]
    runs = {
        "matching": np.unique(cases // 15) * 15,
        "notifications": np.unique(sent // 60) * 60 + 30,
        "contracts": np.unique(cases[::2] // 30) * 30,
        "offer_expiry": np.arange(first + 300, last, HOUR),
        "experiments": np.arange(first, last, 900),
        "nightly_equity": np.arange(first, last, DAY),
        "evidence": np.arange(first + 1800, last, DAY),
    }
    for job, at in runs.items():
        ended = at + rng.uniform(10, 60, len(at))
        failed = rng.random(len(at)) < RUN
        again = failed & (rng.random(len(at)) < RUN)
        found.count(f'job_executions_total{{job_name="{job}",status="success"}}', ended + 60.0 * failed)
        found.count(
            f'job_executions_total{{job_name="{job}",status="failure"}}',
            np.concatenate([ended[failed], ended[again] + 30]),
        )
        if job in ("offer_expiry", "nightly_equity", "evidence"):
            newest = np.searchsorted(ended, found.scrapes, side="right") - 1
            found.values[f'job_last_success_timestamp_seconds{{job_name="{job}"}}'] = (ended + 60.0 * failed)[newest]
            limit = 3 * HOUR if job == "offer_expiry" else 26 * HOUR
            found.values[f'job_freshness_limit_seconds{{job_name="{job}"}}'] = float(limit)


def _platform(found: Series, rng: np.random.Generator) -> None:
    at = found.scrapes
    n = len(at)
    # a new version every week: the exporter is away for a scrape, the daemon for a minute and a half
    deployed = (np.arange(n) % (7 * DAY // STEP)) == DAY // STEP // 2
    found.values['up{job="litgo",instance="exporter:9108"}'] = np.where(deployed, 0.0, 1.0)
    found.values["database_up"] = 1.0
    found.values["last_backup_timestamp_seconds"] = at[0] + np.floor((at - at[0]) / DAY) * DAY + 300
    # a look every 5 minutes; MLflow is away for one of them at each deployment
    found.values['artifact_store_looks_total{outcome="ok"}'] = np.floor((at - at[0]) / 300) - np.cumsum(deployed)
    found.values['artifact_store_looks_total{outcome="failed"}'] = np.cumsum(deployed).astype(float)
    found.values["litgo_metrics_age_seconds"] = rng.uniform(0, 12, n)
    found.values['litgo_source_up{source="dagster"}'] = 1.0
    for daemon in ("SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR", "MONITORING"):
        stamp = at - rng.uniform(0, 45, n) - 90.0 * deployed
        found.values[f'dagster_daemon_heartbeat_timestamp_seconds{{daemon="{daemon}"}}'] = stamp
    found.values['dagster_last_tick_timestamp_seconds{name="quality_sensor"}'] = at - rng.uniform(0, 330, n)
    found.values['dagster_tick_failures{name="quality_sensor"}'] = (rng.random(n) < 0.001).astype(float)
    found.values["dagster_oldest_queued_run_age_seconds"] = rng.exponential(20, n)
    found.values["system_health_score"] = 1 - rng.beta(1, 30, n)
    found.values["disk_size_bytes"] = 100e9
    kept = np.floor((at - at[0]) / DAY) * 3e8  # grows; logs of the day go at its end
    found.values["disk_free_bytes"] = 70e9 - kept - 2e9 * ((at - at[0]) % DAY) / DAY
    found.values["database_connections"] = rng.poisson(20, n).astype(float)
    found.values["database_max_connections"] = 100.0
    found.values["matching_dead_letters"] = found.values["outbox_dead_messages"] = 0.0
    found.values['alertmanager_notifications_failed_total{integration="email"}'] = 3.0
    found.values['model_transitions_total{transition="champion"}'] = 2.0
    found.values['model_version_info{alias="champion",version="7"}'] = 1.0
    found.values['ranker_fallback_total{reason="unavailable"}'] = 4.0
    found.values['model_rollbacks{reason="cusum"}'] = 1.0
    found.values['experiments_ended{outcome="futile"}'] = np.floor((at - at[0]) / (20 * DAY))
    found.values['experiments_ended{outcome="halt"}'] = 1.0


def _marketplace(found: Series, happened: Happened) -> None:
    offers, contracts, cases = (happened.events[name] for name in ("offers", "contracts", "cases"))
    deadline = offers["sent"] + DAY
    hours = np.arange(found.scrapes[0], found.scrapes[-1] + HOUR, HOUR)
    which = np.searchsorted(hours, found.scrapes, side="right") - 1

    def between(stamps: NDArray, old: float, new: float) -> Floats:
        """How many of the stamps lie between `old` and `new` seconds before each hour."""
        stamps = np.sort(stamps)
        low, high = (np.searchsorted(stamps, hours - age, side="right") for age in (old, new))
        return (high - low).astype(float)

    for status, number in (("interested", INTERESTED), ("expired", EXPIRED)):
        counted = between(deadline[offers["status"] == number], DAY, 0)
        found.values[f'offer_outcomes{{status="{status}"}}'] = counted[which]
    rest = between(deadline[~np.isin(offers["status"], (INTERESTED, EXPIRED))], DAY, 0)
    found.values['offer_outcomes{status="declined"}'] = rest[which]
    n = len(cases["created"])
    due, yes = np.full(n, np.inf), np.zeros(n, bool)
    np.minimum.at(due, offers["case"], deadline)
    yes[offers["case"][offers["status"] == INTERESTED]] = True
    signed = np.full(n, np.inf)
    done = np.isin(contracts["status"], (1, 2))
    signed[contracts["case"][done]] = np.maximum(contracts["signed_client"], contracts["signed_lawyer"])[done]
    found.values['case_outcomes{outcome="interested"}'] = between(due[yes], 8 * DAY, DAY)[which]
    both = [((due > h - 8 * DAY) & (due <= h - DAY) & yes & (signed <= h)).sum() for h in hours]
    found.values['case_outcomes{outcome="signed"}'] = np.array(both, float)[which]
    for number, area in enumerate(AREAS):
        monthly = between(cases["created"][cases["area"] == number], 30 * DAY, 0)
        found.values[f'area_cases{{area="{area}"}}'] = monthly[which]

    nights = np.arange(found.scrapes[0], found.scrapes[-1] + 1, DAY)
    night = np.searchsorted(nights, found.scrapes, side="right") - 1
    gini, coverage, pools = [], [], []
    for stop in nights:
        figures = happened.replay.figures(stop)
        gini.append(figures.gini)
        coverage.append(figures.coverage)
        pools.append(
            {p: figures.utilisation[(happened.pool == p) & ~np.isnan(figures.utilisation)] for p in _large(happened)}
        )
    found.values["equity_offer_gini"] = np.array(gini)[night]
    found.values["equity_offer_coverage"] = np.array(coverage)[night]
    for p in _large(happened):
        mean = [u[p].mean() if len(u[p]) >= LEAST_POOL else np.nan for u in pools]
        spread = [100 * np.ptp(np.percentile(u[p], [5, 95])) if len(u[p]) >= LEAST_POOL else np.nan for u in pools]
        found.values[f'equity_pool_utilisation{{pool="{p}"}}'] = np.array(mean)[night]
        found.values[f'equity_spread_points{{pool="{p}"}}'] = np.array(spread)[night]


def _large(happened: Happened) -> list[int]:
    return np.flatnonzero(np.bincount(happened.pool) >= LEAST_POOL).tolist()


def _open(at: Floats, begins: Floats, ends: Floats) -> Floats:
    return (np.searchsorted(np.sort(begins), at, "right") - np.searchsorted(np.sort(ends), at, "right")).astype(float)


def _oldest(at: Floats, begins: Floats, ends: Floats) -> Floats:
    """Age of the oldest thing that has begun and not ended at each instant; 0 without one."""
    found = np.zeros(len(at))
    low, high = np.searchsorted(at, begins), np.searchsorted(at, ends)
    for begin, first, last in zip(begins.tolist(), low.tolist(), high.tolist(), strict=True):
        if first < last:
            np.maximum(found[first:last], at[first:last] - begin, out=found[first:last])
    return found


def inlined(expression: str, recorded: dict[str, str]) -> str:
    """The expression with recorded series replaced by what they are recorded from."""
    for name, source in recorded.items():
        expression = re.sub(rf"{name}\[(\w+)\]", _escaped(f"({source})[") + r"\1:1m]", expression)
        expression = re.sub(rf"{name}(?![\w\[])", _escaped(f"({source})"), expression)
    return expression


def _escaped(text: str) -> str:
    """For the replacement of a regular expression."""
    return text.replace("\\", r"\\")


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "prometheus.yml").write_text("{}")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                "--storage.tsdb.retention.time=10y",
                f"--web.listen-address=127.0.0.1:{port}",
                "--query.timeout=30m",
                "--query.max-samples=200000000",
            ],
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urlopen(f"{url}/-/ready", timeout=5):
                    break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def firing(url: str, expression: str, start: float, stop: float, step: int, patience: float) -> set[int]:
    """Days (from `start`) on which some series of the expression was there for longer than `patience` seconds."""
    true: dict[str, list[float]] = {}
    for low in np.arange(start, stop, 10_000 * step):
        high = min(stop, low + 9_999 * step)
        query = urlencode({"query": expression, "start": low, "end": high, "step": step})
        with urlopen(f"{url}/api/v1/query_range?{query}", timeout=1800) as answer:
            for row in json.load(answer)["data"]["result"]:
                true.setdefault(json.dumps(row["metric"], sort_keys=True), []).extend(
                    float(at) for at, _ in row["values"]
                )
    days: set[int] = set()
    for stamps in true.values():
        began = previous = -np.inf
        for at in stamps:
            began = at if at - previous > step else began
            if at - began >= patience:
                days.add(int((at - start) // DAY))
            previous = at
    return days


def seconds(duration: str) -> float:
    """Of a duration as Prometheus writes it, one unit."""
    return float(duration[:-1]) * {"s": 1, "m": 60, "h": HOUR, "d": DAY}[duration[-1]]


def measure(days: int, lawyers: int, ratio: float) -> dict[str, Any]:
    """alerts: name → days on which it fired; figures of the simulated time."""
    rules = {name: yaml.safe_load((RULES / f"{name}.yml").read_text())["groups"] for name in ("alerts", "recording")}
    recorded = {r["record"]: r["expr"] for g in rules["recording"] for r in g["rules"]}
    happened = simulate(days, lawyers, ratio)
    found = series(happened, days, np.random.default_rng(0))
    start, stop = float(found.scrapes[0]), float(found.scrapes[-1])
    alerts = {}
    with tempfile.TemporaryDirectory(prefix="litgo-noise-") as name:
        folder = Path(name)
        with (folder / "series.txt").open("w") as file:
            found.write(file)
        subprocess.run(
            [
                "promtool",
                "tsdb",
                "create-blocks-from",
                f"--max-block-duration={(days + 2) * 24}h",
                "openmetrics",
                folder / "series.txt",
                folder / "data",
                "--quiet",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with prometheus(folder) as url:
            if len(firing(url, "up == 1", start, stop, STEP, HOUR)) != days:
                raise RuntimeError("the series did not arrive in Prometheus")
            for rule in (rule for group in rules["alerts"] for rule in group["rules"]):
                expression = inlined(rule["expr"], recorded)
                step = LONG if re.search(r"\[(6h|\d+d)", expression) else STEP
                fired = firing(url, expression, start, stop, step, seconds(rule.get("for", "0s")))
                alerts[rule["alert"]] = fired
                print(f"{rule['alert']:32} {len(fired):3} of {days} days", flush=True)
    values = found.values
    return {
        "alerts": alerts,
        "cases": len(happened.events["cases"]["created"]) / (days + WARM_UP),
        "gini": values["equity_offer_gini"],
        "coverage": values["equity_offer_coverage"],
    }


def report(found: dict[str, Any], days: int, lawyers: int) -> str:
    alerts = found["alerts"]
    false = sum(len(fired) for fired in alerts.values())
    rows = "\n".join(f"| {name} | {len(fired)} |" for name, fired in alerts.items() if fired) or "| none | 0 |"
    assumed = "; ".join(f"{what}: {share:.2%}" for what, share in HEALTHY.items())
    gini, coverage = found["gini"], found["coverage"]
    return f"""{days} healthy days of the simulated marketplace, nights and weekends included: {lawyers:,} lawyers, {found["cases"]:.0f} cases per day,
offers by the real allocation (Gini {gini.min():.3f}–{gini.max():.3f}, coverage {coverage.min():.1%}–{coverage.max():.1%}).
Assumed: {assumed}.

{false} of {len(alerts) * days:,} alert-days are false ({false / (len(alerts) * days):.2%}; limit 5%). Of {len(alerts)} alerts
{sum(bool(fired) for fired in alerts.values())} fired at all; on {len(set().union(*alerts.values()))} of {days} days somebody was told something.

| alert | days |
|---|--:|
{rows}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--lawyers", type=int, default=2000)
    parser.add_argument("--ratio", type=float, default=0.3, help="cases, as a share of what the lawyers can take")
    arguments = parser.parse_args()
    found = measure(arguments.days, arguments.lawyers, arguments.ratio)
    print(report(found, arguments.days, arguments.lawyers))


if __name__ == "__main__":
    main()
