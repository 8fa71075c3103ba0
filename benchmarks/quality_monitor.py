# ruff: noqa: E501 — Markdown tables do not wrap
"""False rollbacks of the quality monitor on a healthy model, and its detection delay on a worse one.

    python -m benchmarks.quality_monitor [--runs 2000] [--docs docs]

Simulated months with a check every 5 minutes through `lifecycle.quality`'s statistics, many models at once; a test
holds the alarms against those of `advance`. Prints a table and writes it to `experiments.md`. Seeded, a few minutes.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.experiments import DOCS, write_part
from litgo_pipelines.monitoring.rules import QualityRules, cusum, window_p

CHECKS_AN_HOUR = 12
MONTH = 30
REFERENCE = 0.2
RATES = (20, 60, 200, 1000)  # outcomes per hour
LIMITS = dict(zip(RATES, (24, 8, 3, 1), strict=True))  # hours to catch −50 %, median
RULES = QualityRules(REFERENCE)


@dataclass(frozen=True)
class Found:
    """hours: (runs,) until the first alarm, infinite for none; kinds: (runs, 3) which of cusum, window, floor gave it;
    naive: (runs,) whether "1 h, −10 %, 100 outcomes" ever fired; outcomes, successes: (checks, runs) when kept."""

    hours: NDArray[np.float64]
    kinds: NDArray[np.bool_]
    naive: NDArray[np.bool_]
    outcomes: NDArray[np.int64]
    successes: NDArray[np.int64]


class _Window:
    """Running sums over the last `checks` checks."""

    def __init__(self, checks: int, runs: int) -> None:
        self._rows, self._at, self.sums = (
            np.zeros((checks, 2, runs), dtype=np.int64),
            0,
            np.zeros((2, runs), dtype=np.int64),
        )

    def add(self, n: NDArray[np.int64], x: NDArray[np.int64]) -> None:
        row = self._rows[self._at % len(self._rows)]
        self.sums += np.stack([n, x]) - row
        row[:] = n, x
        self._at += 1


def simulate(
    outcomes_an_hour: float,
    *,
    runs: int,
    days: float,
    rate: float,
    seed: int,
    control_rate: float | None = None,
    fraction: float = 0.5,
    keep: bool = False,
) -> Found:
    """Models with success `rate` that start with an empty state. A control gets (1 − fraction) / fraction as many
    outcomes at `control_rate`; with it the floor is not asked, and the hour's exact test only where its cheap normal
    approximation is anywhere near its limit."""
    rng, rules = np.random.default_rng(seed), QualityRules(REFERENCE, fraction=fraction)
    state, hours = np.zeros(runs), np.full(runs, np.inf)
    kinds, naive = np.zeros((runs, 3), dtype=bool), np.zeros(runs, dtype=bool)
    hour, day, control_hour = _Window(12, runs), _Window(288, runs), _Window(12, runs)
    kept: list[NDArray[np.int64]] = []
    for check in range(round(days * 24 * CHECKS_AN_HOUR)):
        n = rng.poisson(outcomes_an_hour / CHECKS_AN_HOUR, runs)
        x = rng.binomial(n, rate)
        hour.add(n, x)
        day.add(n, x)
        floor = np.zeros(runs, dtype=bool)
        if control_rate is None:
            state = cusum(state, rules, n, x)
            window = window_p(REFERENCE, *hour.sums) < rules.window_p
            floor = window_p(rules.floor * REFERENCE, *day.sums) < rules.floor_p
        else:
            m = rng.poisson(outcomes_an_hour / CHECKS_AN_HOUR * (1 - fraction) / fraction, runs)
            y = rng.binomial(m, control_rate)
            control_hour.add(m, y)
            state = cusum(state, rules, n, x, m, y)
            window = np.zeros(runs, dtype=bool)
            total = hour.sums + control_hour.sums
            share = total[1] / np.maximum(total[0], 1)
            expected = hour.sums[0] * share
            deviation = np.sqrt(expected * (1 - share) * control_hour.sums[0] / np.maximum(total[0], 1))
            near = np.flatnonzero(hour.sums[1] < expected - 3 * deviation)
            window[near] = window_p(REFERENCE, *hour.sums[:, near], *control_hour.sums[:, near]) < rules.window_p
        window &= hour.sums[0] >= rules.window_min_outcomes
        naive |= (hour.sums[0] >= 100) & (hour.sums[1] < 0.9 * REFERENCE * hour.sums[0])
        alarms = np.stack([state >= rules.cusum_limit, window, floor], axis=1)
        first = alarms.any(axis=1) & np.isinf(hours)
        hours[first], kinds[first] = (check + 1) / CHECKS_AN_HOUR, alarms[first]
        if keep:
            kept += [n, x]
    pairs = np.array(kept or np.zeros((0, runs), dtype=np.int64)).reshape(-1, 2, runs)
    return Found(hours, kinds, naive, pairs[:, 0], pairs[:, 1])


def _hours(found: Found) -> str:
    median = np.median(found.hours)
    return f"{median:.1f}" if np.isfinite(median) else f"> {found.hours[np.isfinite(found.hours)].max(initial=0):.0f}"


def report(runs: int) -> str:
    rows, verdicts = [], []
    for number, per_hour in enumerate(tqdm(RATES, desc="reference", unit=" rates")):
        healthy = simulate(per_hour, runs=runs, days=MONTH, rate=REFERENCE, seed=number)
        slipped = simulate(per_hour, runs=runs // 4, days=MONTH, rate=0.95 * REFERENCE, seed=10 + number)
        days = min(MONTH, 4000 / per_hour / 24 + 1)
        worse = [
            simulate(per_hour, runs=runs // 4, days=days * long, rate=REFERENCE * part, seed=20 + number)
            for part, long in ((0.5, 1), (0.7, 2), (0.8, 4))
        ]
        alarmed = np.isfinite(healthy.hours)
        rows.append(
            f"| {per_hour:,} | {alarmed.mean():.2%} | {' / '.join(f'{k:.2%}' for k in healthy.kinds.mean(axis=0))} "
            f"| {np.isfinite(slipped.hours).mean():.1%} | {' | '.join(_hours(found) for found in worse)} "
            f"| {healthy.naive.mean():.0%} |"
        )
        good = alarmed.mean() <= 0.01, np.median(worse[0].hours) <= LIMITS[per_hour]
        verdicts.append(
            f"| {per_hour:,} | {'met' if good[0] else '**missed**'} | ≤ {LIMITS[per_hour]} h: "
            f"{'met' if good[1] else '**missed**'} |"
        )
    controlled = []
    for fraction in (0.5, 0.9):
        for number, per_hour in enumerate(tqdm(RATES, desc=f"control, {fraction:.0%}", unit=" rates")):
            some, days = max(50, runs // 4), min(MONTH, 4000 / per_hour / 24 + 1)
            fallen = simulate(
                per_hour,
                runs=some,
                days=MONTH,
                rate=REFERENCE,
                seed=40 + number,
                control_rate=REFERENCE,
                fraction=fraction,
            )
            demand = simulate(
                per_hour,
                runs=some,
                days=7,
                rate=0.7 * REFERENCE,
                seed=50 + number,
                control_rate=0.7 * REFERENCE,
                fraction=fraction,
            )
            worse_ = simulate(
                per_hour,
                runs=some,
                days=min(MONTH, days * 12),
                rate=REFERENCE / 2,
                seed=60 + number,
                control_rate=REFERENCE,
                fraction=fraction,
            )
            alone = simulate(per_hour, runs=some, days=7, rate=0.7 * REFERENCE, seed=50 + number)
            controlled.append(
                f"| {1 - fraction:.0%} | {per_hour:,} | {np.isfinite(fallen.hours).mean():.1%} | {_hours(worse_)} "
                f"| {np.isfinite(demand.hours).mean():.1%} | {np.isfinite(alone.hours).mean():.0%} |"
            )
    table, checks, more = "\n".join(rows), "\n".join(verdicts), "\n".join(controlled)
    return f"""Written by `python -m benchmarks.quality_monitor`. {runs:,} months of {MONTH} days per row, a check every 5 minutes, success {REFERENCE:.0%} when
healthy. CUSUM: ratio {RULES.cusum_ratio:g}, limit {RULES.cusum_limit:g}; hour: p < {RULES.window_p:g}, at least {RULES.window_min_outcomes} outcomes; floor {RULES.floor:g}: p < {RULES.floor_p:g} over 24 hours.

Against the model's own reference:

| outcomes per hour | healthy, rolled back in a month | by CUSUM / hour / floor | 5 % below its reference | hours to catch −50 % | −30 % | −20 % | "1 h, −10 %, n ≥ 100", healthy |
|--:|--:|--:|--:|--:|--:|--:|--:|
{table}

| outcomes per hour | healthy ≤ 1 % a month | −50 % caught, median |
|--:|---|---|
{checks}

Against a concurrent control (outcomes per hour are the model's own; the control's come on top):

| control's share | outcomes per hour | healthy, rolled back in a month | hours to catch −50 % | demand falls by 30 % for a week: rolled back | the same without the control |
|--:|--:|--:|--:|--:|--:|
{more}

A small control knows little: at 10 % it protects from a fall in demand, and a broken model is noticed later than by the
reference. (−30 % and −20 %: medians over {runs // 4:,} runs; ">": fewer than half were noticed in the time simulated.)"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--docs", type=Path, default=DOCS)
    arguments = parser.parse_args()
    text = report(arguments.runs)
    print(text)
    write_part(arguments.docs, "quality-monitor", text)


if __name__ == "__main__":
    main()
