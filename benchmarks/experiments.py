# ruff: noqa: E501 — Markdown tables do not wrap
"""Error rates of the decision rule on simulated experiments, with an interim analysis every 100 clients.

    python -m benchmarks.experiments [--runs 1000] [--docs docs]

Every analysis goes through `experiments.decision.decide_experiment`, as the sensor's do, until the outcome is final. Beside it what
repeated analyses do to the rules it replaces: a fixed-horizon z-test and a Bayesian chance to win. Prints a table and
writes it between its markers in `experiments.md`. Seeded; one process.
"""

import argparse
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, ndtr
from tqdm import tqdm

from litgo_pipelines.experiments.assignment import Experiment, assign, bucket
from litgo_pipelines.experiments.confidence import Moments
from litgo_pipelines.experiments.decision import (
    Arm,
    Cutoff,
    ExperimentOutcome,
    ExperimentRules,
    Guardrail,
    Phase,
    decide_experiment,
)
from litgo_pipelines.experiments.fairness import InterimAnalysis, interim_analysis, interim_points

DOCS = Path(__file__).resolve().parent.parent / "docs"
START = datetime(2026, 1, 1, tzinfo=UTC)
CLIENTS_PER_DAY = 400
MATURING = 14 * CLIENTS_PER_DAY  # clients exposed whose outcome is not final yet
STEP = 100  # clients between two interim analyses
HORIZON = 20_000
HOURS_CAP = 72.0
RULES = ExperimentRules(
    baseline_rate=0.3,
    guardrails=(
        Guardrail("hours to accept", 3.0, higher_is_better=False, cap=HOURS_CAP),
        Guardrail("share of requests accepted", 0.04),
        Guardrail("rating", 0.3),
    ),
    horizon=HORIZON,
)
GINI_POOL = 50  # sequences of interim analyses of the Gini that the runs draw from
LAWYERS = 300


@dataclass(frozen=True)
class Scenario:
    """lift: relative effect on the chance that a request is accepted. ramp: (first client, share treated) a phase.
    drift: the baseline goes linearly from rate·(1 − drift) to rate·(1 + drift). spread: how much clients differ, the
    standard deviation of their own rates over √(p(1−p)); with it most clients have several requests."""

    name: str
    lift: float = 0.0
    ramp: tuple[tuple[int, float], ...] = ((0, 0.1), (4000, 0.5))
    drift: float = 0.0
    spread: float = 0.0
    prior_rate: float = 0.3
    rate: float = 0.3


HALF = ((0, 0.5),)
SCENARIOS = (
    Scenario("A/A, 10 % to 4,000 clients, then 50 %"),
    Scenario("A/A, 50 % from the start", ramp=HALF),
    Scenario("A/A, 10 % throughout", ramp=((0, 0.1),)),
    Scenario("A/A, ramp, baseline drifts ±40 %", drift=0.4),
    Scenario("A/A, ramp, clients with several requests", spread=0.6),
    Scenario("A/A, ramp, drift and several requests", drift=0.4, spread=0.6),
    Scenario("A/A, ramp, expected rate wrong (.15)", prior_rate=0.15),
    Scenario("+10 %, ramp", lift=0.1),
    Scenario("+10 %, 50 % from the start", lift=0.1, ramp=HALF),
    Scenario("+10 %, ramp, drift and several requests", lift=0.1, drift=0.4, spread=0.6),
    Scenario("+20 %, ramp", lift=0.2),
    Scenario("−5 %, ramp", lift=-0.05),
    Scenario("−20 %, ramp", lift=-0.2),
)


@dataclass(frozen=True)
class Run:
    """One experiment at every interim analysis. counts: (analyses, phases, arms, columns) cumulative, arm 0 treatment; columns as in
    `simulate`. exposed: (analyses, phases, arms). requests: (analyses, arms, 2), requests and accepted ones."""

    counts: NDArray[np.float64]
    exposed: NDArray[np.int64]
    requests: NDArray[np.float64]


def simulate(scenario: Scenario, rng: np.random.Generator) -> Run:
    n = HORIZON + MATURING
    firsts = np.array([first for first, _ in scenario.ramp])
    phase = np.searchsorted(firsts, np.arange(n), side="right") - 1
    treated = rng.random(n) < np.array([share for _, share in scenario.ramp])[phase]
    base = scenario.rate * (1 + scenario.drift * np.linspace(-1, 1, n)) * np.where(treated, 1 + scenario.lift, 1)
    requests = np.ones(n, dtype=np.int64)
    if scenario.spread:
        precision = 1 / scenario.spread**2 - 1
        base = rng.beta(base * precision, (1 - base) * precision)
        requests += rng.geometric(0.4, n)
    first = rng.random(n) < base
    accepted = first + rng.binomial(requests - 1, base)
    hours = np.where(first, np.minimum(rng.exponential(12.0, n), HOURS_CAP), HOURS_CAP)
    reviewed = (first & (rng.random(n) < 0.5)).astype(np.float64)
    rating = reviewed * np.clip(np.round(rng.normal(4.2, 1.0, n)), 1, 5)
    columns = [
        np.ones(n),
        first,
        hours,
        hours**2,
        accepted,
        accepted**2.0,
        requests,
        accepted * requests,
        requests**2.0,
        rating,
        rating**2,
        reviewed,
        rating,
        reviewed,
    ]
    phases, every = len(firsts), HORIZON // STEP
    cell = (np.arange(n) // STEP * phases + phase) * 2 + ~treated
    shape = (n // STEP, phases, 2)

    def cumulative(values: NDArray) -> NDArray[np.float64]:
        return np.bincount(cell, values, np.prod(shape)).reshape(shape).cumsum(axis=0)

    table = np.stack([cumulative(np.asarray(column, dtype=np.float64))[:every] for column in columns], axis=-1)
    ahead = np.minimum(np.arange(every) + MATURING // STEP, n // STEP - 1)
    exposed = cumulative(np.ones(n))[ahead].astype(np.int64)
    return Run(table, exposed, table[..., [6, 4]].sum(axis=1))


def cutoffs(run: Run, shares: tuple[float, ...], gini: tuple[InterimAnalysis, ...]):
    """The cutoffs of one run, in order; only phases that have begun."""

    def arm(row: list[float], exposed: int) -> Arm:
        clients, converted, y, yy, a, aa, r, ar, rr, s, ss, v, sv, vv = row
        return Arm(
            exposed,
            int(clients),
            int(converted),
            {
                "hours to accept": Moments(int(clients), y, yy, clients, y, clients),
                "share of requests accepted": Moments(int(clients), a, aa, r, ar, rr),
                "rating": Moments(int(clients), s, ss, v, sv, vv),
            },
        )

    for at, (table, exposed) in enumerate(zip(run.counts.tolist(), run.exposed.tolist(), strict=True)):
        seen = [(row, count, share) for row, count, share in zip(table, exposed, shares, strict=True) if sum(count)]
        clients = sum(map(sum, exposed))
        yield Cutoff(
            START,
            START + timedelta(days=((at + 1) * STEP + MATURING) / CLIENTS_PER_DAY),
            tuple(Phase(share, arm(row[0], count[0]), arm(row[1], count[1])) for row, count, share in seen),
            tuple(interim_analysis for interim_analysis in gini if interim_analysis.clients <= clients),
        )


def gini_sequences(count: int, ramp: tuple[tuple[int, float], ...], seed: int) -> list[tuple[InterimAnalysis, ...]]:
    """Interim analyses of the Gini of one model in both arms, through `fairness.interim_analysis`: popular and less popular lawyers, five offers
    per client."""
    found = []
    for number in tqdm(range(count), desc="Gini", unit=" runs", leave=False):
        rng = np.random.default_rng([seed, number])
        capacity, popular = rng.integers(5, 31, LAWYERS), rng.gamma(2.0, size=LAWYERS)
        n = max(interim_points(HORIZON))
        lawyer = rng.choice(LAWYERS, n * 5, p=popular / popular.sum())
        phase = np.searchsorted([first for first, _ in ramp], np.arange(n), side="right") - 1
        treated = rng.random(n) < np.array([share for _, share in ramp])[phase]
        found.append(
            tuple(
                interim_analysis(
                    treated[:size],
                    phase[:size],
                    np.repeat(np.arange(size), 5),
                    lawyer[: 5 * size],
                    capacity,
                    seed=number,
                    permutations=RULES.permutations,
                )
                for size in interim_points(HORIZON)
            )
        )
    return found


def peeking(run: Run) -> dict[str, bool]:
    """What fixed-horizon rules declare at some analysis (from 100 clients per arm), phases pooled as they do."""
    pooled = run.counts.sum(axis=1)
    n, x = pooled[..., 0], pooled[..., 1]
    z, chance = fixed_horizon(n, x)
    requests, _ = fixed_horizon(run.requests[..., 0], run.requests[..., 1])
    enough = n.min(axis=1) >= 100
    return {
        "peeked": bool((enough & (np.abs(z) > 1.96)).any()),
        "chance": bool((enough & ((chance > 0.95) | (chance < 0.05))).any()),
        "requests": bool((enough & (np.abs(requests) > 1.96)).any()),
        "once": bool(abs(z[-1]) > 1.96),
        "requests once": bool(abs(requests[-1]) > 1.96),
    }


def fixed_horizon(n: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pooled two-proportion z, and the chance to win with flat Beta priors (normal approximation), each (analyses,)."""
    total = n.sum(axis=1)
    share = x.sum(axis=1) / total
    rate = np.divide(x, n, out=np.zeros_like(x), where=n > 0)
    error = np.sqrt(share * (1 - share) * (1 / np.maximum(n, 1)).sum(axis=1))
    z = np.divide(rate[:, 0] - rate[:, 1], error, out=np.zeros(len(n)), where=error > 0)
    a, b = x + 1, n - x + 1
    mean, variance = a / (a + b), a * b / (a + b) ** 2 / (a + b + 1)
    return z, ndtr((mean[:, 0] - mean[:, 1]) / np.sqrt(variance.sum(axis=1)))


@dataclass(frozen=True)
class Result:
    outcomes: Counter[ExperimentOutcome]
    harm: Counter[str]  # why rolled back
    promoted_at: list[int]
    old: Mapping[str, float]
    decisions: int
    seconds: float


def measure(scenario: Scenario, runs: int, gini: list[tuple[InterimAnalysis, ...]], seed: int) -> Result:
    rules = ExperimentRules(**{**vars(RULES), "baseline_rate": scenario.prior_rate})
    shares = tuple(share for _, share in scenario.ramp)
    outcomes: Counter[ExperimentOutcome] = Counter()
    harm: Counter[str] = Counter()
    promoted, old, decisions, seconds = [], Counter[str](), 0, 0.0
    for number in tqdm(range(runs), desc=scenario.name, unit=" runs", leave=False):
        run = simulate(scenario, np.random.default_rng([seed, number]))
        old.update(name for name, declared in peeking(run).items() if declared)
        started = time.perf_counter()
        for cutoff in cutoffs(run, shares, gini[number % len(gini)]):
            made = decide_experiment(cutoff, rules)
            decisions += 1
            if made.outcome.final:
                break
        seconds += time.perf_counter() - started
        outcomes[made.outcome] += 1
        if made.outcome is ExperimentOutcome.PROMOTE:
            promoted.append(sum(made.mature))
        if made.outcome is ExperimentOutcome.ROLL_BACK:
            harm.update({reason.split(" is ")[0].split(":")[0] for reason in made.reasons})
    return Result(outcomes, harm, promoted, {name: old[name] / runs for name in old}, decisions, seconds)


def assignments() -> tuple[float, float, float]:
    """(Assignments per second, chi-square of 1e6 ids over 100 cells with 99 degrees of freedom, share in treatment)."""
    experiment = Experiment("benchmark:1", 1000)
    ids = [f"c{number}" for number in range(1_000_000)]
    started = time.perf_counter()
    treated = sum(assign(experiment, client) == "treatment" for client in ids)
    seconds = time.perf_counter() - started
    cells = np.bincount([bucket("benchmark:1", client) // 100 for client in ids], minlength=100)
    return len(ids) / seconds, float(((cells - 10_000) ** 2 / 10_000).sum()), treated / len(ids)


def report(results: Mapping[Scenario, Result], runs: int, gini: Mapping[str, list[tuple[InterimAnalysis, ...]]]) -> str:
    def rate(result: Result, outcome: ExperimentOutcome) -> str:
        return f"{result.outcomes[outcome] / runs:.1%}"

    rows = "\n".join(
        f"| {scenario.name} | {rate(r, ExperimentOutcome.PROMOTE)} | {rate(r, ExperimentOutcome.ROLL_BACK)} | {rate(r, ExperimentOutcome.FUTILE)} "
        f"| {rate(r, ExperimentOutcome.HORIZON)} | {rate(r, ExperimentOutcome.HALT)} "
        f"| {f'{np.median(r.promoted_at):,.0f}' if len(r.promoted_at) > runs / 20 else '–'} |"
        for scenario, r in results.items()
    )
    old = "\n".join(
        f"| {scenario.name} | {r.old.get('peeked', 0):.1%} | {r.old.get('chance', 0):.1%} | {r.old.get('once', 0):.1%} "
        f"| {r.old.get('requests', 0):.1%} | {r.old.get('requests once', 0):.1%} "
        f"| {(r.outcomes[ExperimentOutcome.PROMOTE] + r.outcomes[ExperimentOutcome.ROLL_BACK]) / runs:.1%} |"
        for scenario, r in results.items()
        if not scenario.lift
    )
    by_name = {scenario.name: r for scenario, r in results.items()}
    null = [r for scenario, r in results.items() if not scenario.lift]
    better = [r for scenario, r in results.items() if scenario.lift == 0.1]
    worst = [r for scenario, r in results.items() if scenario.lift == -0.2]
    limits = [
        (
            "A/A promoted, highest",
            max(r.outcomes[ExperimentOutcome.PROMOTE] for r in null) / runs,
            "≤ 3 %",
            0.03,
            False,
        ),
        (
            "A/A rolled back, highest",
            max(r.outcomes[ExperimentOutcome.ROLL_BACK] for r in null) / runs,
            "≤ 2 %",
            0.02,
            False,
        ),
        (
            "+10 % promoted, lowest",
            min(r.outcomes[ExperimentOutcome.PROMOTE] for r in better) / runs,
            "≥ 85 %",
            0.85,
            True,
        ),
        ("−20 % promoted, highest", max(r.outcomes[ExperimentOutcome.PROMOTE] for r in worst) / runs, "0", 0.0, False),
    ]
    verdicts = "\n".join(
        f"| {name} | {value:.1%} | {limit} | {'met' if (value >= bound if least else value <= bound) else '**missed**'} |"
        for name, value, limit, bound, least in limits
    )
    harm = Counter[str]()
    for r in null:
        harm.update(r.harm)
    reasons = ", ".join(f"{name} {count}" for name, count in harm.most_common())
    ginis = "\n".join(
        f"| {name} | {size:,} | {np.mean([s[i].naive for s in sequences]):+.3f} "
        f"| {np.mean([s[i].excess for s in sequences]):+.4f} | {np.max([abs(s[i].excess) for s in sequences]):.3f} "
        f"| {np.mean([s[i].p_value <= RULES.gini_alpha for s in sequences]):.1%} |"
        for name, sequences in gini.items()
        for i, size in enumerate(interim_points(HORIZON))
    )
    speed, chi, share = assignments()
    decisions, seconds = sum(r.decisions for r in results.values()), sum(r.seconds for r in results.values())
    steady = by_name[SCENARIOS[1].name]
    return f"""Written by `python -m benchmarks.experiments`. {runs:,} runs per row, seeded; an interim analysis every {STEP} clients up to
{HORIZON:,}, each through `decide_experiment` with three guardrails and the Gini; {CLIENTS_PER_DAY} clients per day, baseline .30. A figure of
2 % has a standard error of {np.sqrt(0.02 * 0.98 / runs):.1%}.

| experiment | promoted | rolled back | futile | horizon | halted | median clients when promoted |
|---|--:|--:|--:|--:|--:|--:|
{rows}

| must hold | measured | limit | |
|---|--:|--:|---|
{verdicts}

Reasons of the rollbacks in the A/A rows (a run may have several): {reasons or "none"}.

**What the same interim analyses do to fixed-horizon rules** (some difference declared where there is none; 95 %, two-sided, phases pooled):

| experiment | z-test at every analysis | chance to win at every analysis | z-test once | z-test on requests, every analysis | on requests, once | this rule |
|---|--:|--:|--:|--:|--:|--:|
{old}

At 50 % and steady, analysing {HORIZON // STEP} times turns 5 % into {steady.old.get("peeked", 0):.0%}; pooled phases over a drifting baseline and requests counted
as if independent are wrong even when analysed once.

**Gini of offers, the same model in both arms** ({GINI_POOL} sequences, {LAWYERS} lawyers, {RULES.permutations} shuffles per analysis):

| split | clients | naive difference, mean | corrected, mean | corrected, largest | p ≤ {RULES.gini_alpha:.4f} |
|---|--:|--:|--:|--:|--:|
{ginis}

A decision took {1e3 * seconds / decisions:.2f} ms ({decisions:,} of them); assignment did {speed:,.0f} a second; chi-square of 1,000,000 ids over 100 cells
{chi:.0f} (99 expected, {chdtri(99, 0.001):.0f} is the 99.9 % limit), {share:.2%} of them in a treatment of 10 %."""


def write_part(docs: Path, name: str, text: str) -> None:
    """Put `text` between the markers of one part of `experiments.md`. Raises ValueError for a page without them."""
    page = docs / "experiments.md"
    old = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    new, found = re.subn(f"{begin}.*?{end}", lambda _: f"{begin}\n{text.strip()}\n{end}", old, flags=re.DOTALL)
    if found != 1:
        raise ValueError(f"{page} has no part {name}")
    page.write_text(new, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--docs", type=Path, default=DOCS)
    arguments = parser.parse_args()
    gini = {
        "ramp": gini_sequences(GINI_POOL, SCENARIOS[0].ramp, 1),
        "10 %": gini_sequences(GINI_POOL, SCENARIOS[2].ramp, 2),
    }
    results = {
        scenario: measure(scenario, arguments.runs, gini["10 %" if len(scenario.ramp) == 1 else "ramp"], 100 + number)
        for number, scenario in enumerate(SCENARIOS)
    }
    text = report(results, arguments.runs, gini)
    print(text)
    write_part(arguments.docs, "experiments", text)


if __name__ == "__main__":
    main()
