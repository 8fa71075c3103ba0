"""Page of the soak run: figures in words and tables, between the markers of docs/soak.md. Nothing is measured here."""

import argparse
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import soak_audit

if TYPE_CHECKING:
    from benchmarks.soak import Kill

PAGE = Path(__file__).parent.parent / "docs" / "soak.md"
WARM_UP = 600.0  # seconds of a process that tell nothing about its growth: the daemon fills its caches so long
LONG_LIVED = (
    "supervisor",
    "daemon",
    "code server",
    "warm process",
    "webserver",
    "exporter",
    "MLflow",
    "Postgres",
    "Postgres session",
)


@dataclass(frozen=True)
class Outcome:
    """`settled`: from the start until nothing waited unseen; `rules`: rule → rows that break it; `memory`: role → pid →
    (seconds, bytes); `scrapes`: tried, without an answer; `fired`: alert → seconds, None without Prometheus; `told`:
    (alert, state) → notifications."""

    arguments: argparse.Namespace
    began: datetime
    fed_until: datetime
    settled: timedelta
    drained: timedelta | None
    lived: Counter[str]
    repeated_steps: int
    slowest_step: float
    rules: Mapping[str, int]
    counted: Mapping[str, tuple[int, int]]
    miscounted: Mapping[str, tuple[int, int]]
    back: Sequence[str]
    scrapes: tuple[int, int]
    deliveries: soak_audit.Deliveries
    envelopes: tuple[int, int, int]
    latencies: Mapping[str, NDArray]
    kills: "Sequence[Kill]"
    memory: Mapping[str, Mapping[int, Sequence[tuple[float, float]]]]
    load: Sequence[float]
    fired: Mapping[str, float] | None
    told: Counter[tuple[str, str]]
    runs: soak_audit.Runs
    ticks: Mapping[str, Counter[str]]
    due: Mapping[str, float]
    fallbacks: Mapping[str, float]
    vendors: Mapping[str, Counter[str]]

    def verdicts(self) -> list[tuple[str, bool, str]]:
        """What must hold, whether it does, and what was found."""
        there, twice, missing = self.envelopes
        sent = self.deliveries
        return [
            *((f"no {rule}", not n, f"{n:,}") for rule, n in self.rules.items()),
            ("no delivery that the vendor does not know", not sent.lost, f"{sent.lost:,} of {sent.sent:,}"),
            ("no delivery that only the vendor knows", not sent.unknown, f"{sent.unknown:,}"),
            (
                "what arrived again was counted as possible duplicate",
                sent.repeated <= sent.admitted,
                f"{sent.repeated:,} again, {sent.admitted:,} counted",
            ),
            (
                "one envelope per contract, and it is there",
                not twice and not missing,
                f"{there:,} envelopes, {twice} twice, {missing} missing",
            ),
            (
                "counters in `metric_state` equal the rows",
                not self.miscounted,
                "; ".join(f"{name}: {a:,} counted, {b:,} rows" for name, (a, b) in self.miscounted.items())
                or f"{len(self.counted)} compared",
            ),
            (
                "`/metrics` never goes back",
                not self.back,
                "; ".join(self.back[:3]) or f"{self.scrapes[0]:,} scrapes, {self.scrapes[1]} without all series",
            ),
            ("every run that ended was counted", not self.runs.uncounted, f"{self.runs.uncounted}"),
            ("every failed run was made good by a later one", not self.runs.unmended, ", ".join(self.runs.unmended)),
            ("all is drained", self.drained is not None, f"{self.drained}".split(".")[0]),
        ]

    @property
    def nothing_lost(self) -> bool:
        return all(good for _, good, _ in self.verdicts())


def machine() -> str:
    """The processor, cores and memory, without its name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB"


def text(o: Outcome) -> str:
    a = o.arguments
    fed = (o.fed_until - o.began).total_seconds()
    return f"""Written by `python -m benchmarks.soak --minutes {a.minutes:g} --cases-per-second {a.cases_per_second:g} \
--kill-every {a.kill_every:g} --vendor-faults {a.vendor_faults:g}`.
Machine: {machine()}; mean load {np.mean(o.load):.1f}, of this run and whatever else ran.
{fed / 60:.0f} minutes of load, {o.lived["cases"] / fed:.2f} cases per second; {_list(o.lived)} by the simulated people
({o.repeated_steps} of their steps had to be repeated, the slowest took {o.slowest_step:.1f} s). \
{len(o.kills)} kills. What waited unseen in the demo's marketplace, which nobody had worked for weeks,
was attended to within {o.settled.total_seconds():.0f} seconds; then the load began.

| must hold | | found |
|---|---|---|
{_rows((what, "yes" if good else "**no**", found) for what, good, found in o.verdicts())}

### From a case to its offers

Seconds from the case's creation to the commit of its offers (the row is there up to two seconds after that instant).
"With a kill": a kill fell between a minute before the case came and its offers.

| cases | n | p50 | p95 | p99 | most |
|---|--:|--:|--:|--:|--:|
{_rows((name, f"{len(s):,}", *_quantiles(s)) for name, s in o.latencies.items())}

### Until it works again

| killed | run | seconds until |
|---|---|--:|
{_rows((k.role, k.what, "not" if k.seconds is None else f"{k.seconds:.0f}") for k in o.kills)}

Daemon: all its threads' heartbeats. Code server (the daemon's): a sensor was evaluated. Run worker: a later run of its
job succeeded. Webserver, exporter, MLflow: a new process answers. Postgres: a new postmaster answers.

### Memory

Resident, of all processes of a kind together, and growth within processes by least squares after
{WARM_UP / 60:.0f} minutes of warm-up; ± is its standard error, of samples that are not independent.

| process | processes | MiB, median | MiB, most | MiB per hour, each |
|---|--:|--:|--:|--:|
{_rows(_memory(o))}

### Alerts

{_alerts(o)}

### Runs

| job | {" | ".join(STATUSES).lower()} |
|---|--:|--:|--:|
{_rows((job, *(f"{o.runs.ended[job, s]:,}" for s in STATUSES)) for job in sorted({j for j, _ in o.runs.ended}))}

{o.runs.retried} of them were retries by Dagster.

### What was due and what was done

Evaluations of schedules and sensors that went well, of those that were due (a sensor: by its shortest interval, or the
seconds a tick lasts that goes on looking).

| | due | done | failed | share |
|---|--:|--:|--:|--:|
{_rows(_ticks(o))}

### Vendors and fallbacks

Requests the stand-ins got, and the share of the minutes in which a fallback stood in at least once.

| vendor | answered | HTTP 500 | broken before | lost after | minutes with fallback |
|---|--:|--:|--:|--:|--:|
{_rows(_vendors(o))}
"""


STATUSES = ("SUCCESS", "FAILURE", "CANCELED")


def _rows(rows: Any) -> str:
    return "\n".join(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {what.replace('_', ' ')}" for what, n in counts.items() if n)


def _quantiles(seconds: NDArray) -> list[str]:
    return [f"{value:.0f}" for value in np.quantile(seconds, [0.5, 0.95, 0.99, 1])] if len(seconds) else ["–"] * 4


def _memory(o: Outcome) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name in LONG_LIVED:
        samples = o.memory.get(name)
        if not samples:
            continue
        at: dict[float, float] = {}
        for pairs in samples.values():
            for instant, size in pairs:
                at[instant] = at.get(instant, 0) + size
        together = np.array(list(at.values())) / 2**20
        slope, error = (value / 2**20 for value in soak_audit.growth(samples, WARM_UP))
        grows = "–" if np.isnan(slope) else f"{slope:+.1f} ± {error:.1f}"
        rows.append((name, f"{len(samples)}", f"{np.median(together):.0f}", f"{together.max():.0f}", grows))
    return rows


def _alerts(o: Outcome) -> str:
    if o.fired is None:
        return "Prometheus and Alertmanager are not installed here."
    if not o.fired:
        return "None fired."
    rows = (
        (name, f"{seconds / 60:.1f}", str(o.told[name, "firing"]), str(o.told[name, "resolved"]))
        for name, seconds in sorted(o.fired.items())
    )
    return f"| alert | minutes firing | told | told its end |\n|---|--:|--:|--:|\n{_rows(rows)}"


def _ticks(o: Outcome) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, due in sorted(o.due.items()):
        if due < 1 and name not in o.ticks:
            continue
        found = o.ticks.get(name, Counter())
        done = found["SUCCESS"] + found["SKIPPED"]
        share = f"{min(1.0, done / due):.0%}" if due >= 1 else "–"
        rows.append((name, f"{due:.0f}", f"{done:,}", f"{found['FAILURE']:,}", share))
    return rows


def _vendors(o: Outcome) -> list[tuple[str, ...]]:
    kinds = ("answered", "refused", "broken", "lost")
    return [
        (name, *(f"{counts[kind]:,}" for kind in kinds), f"{o.fallbacks.get(name, 0):.1%}")
        for name, counts in o.vendors.items()
    ]


def write(figures: str, page: Path = PAGE, mark: str = "soak") -> None:
    """Put the figures between the markers of the page. Raises ValueError for a page without them."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    head, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise ValueError(f"{page.name} lacks its markers")
    page.write_text(f"{head}{begin}\n{figures.strip()}\n{end}{tail}", encoding="utf-8")
