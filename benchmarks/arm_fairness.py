"""Bias of the fairness guardrail: two rankers that are equally fair alone, side by side in one market.

    python -m benchmarks.arm_fairness

Treatment knows who is good, control knows nothing; each has the λ that gives it a Gini of at most .28 alone. What the
guardrail reads (`fairness.interim_analysis`) is the Gini of treatment's offers minus control's, corrected for the
arms' sizes: it should be near 0. One ledger for both arms, loads of their own, these with the λ of a replay in which
treatment takes over, and the offers of the whole month instead of the arm's alone are compared; written to
docs/experiments.md.
"""

from typing import Any

import numpy as np

from benchmarks.experiments import DOCS, write_part
from litgo_pipelines.experiments.fairness import interim_analysis
from litgo_pipelines.matching.allocation import Rule, choose, relative_load, ties
from litgo_pipelines.matching.arm_loads import ArmLoads
from litgo_pipelines.matching.calibration import Window, fit_all
from litgo_pipelines.matching.replay import Ledger, ReplayCases, ReplayLawyers
from litgo_pipelines.models.ranking import Ranker

LAWYERS, POOL, CASES, DAYS = 400, 40, 9_000, 60
DAY = 86_400.0
SEEDS = (1, 2, 3)
SHARES = (0.1, 0.5)
LOOKS = (15, 30)  # days of the experiment


def market(seed: int) -> tuple[ReplayCases, ReplayCases, ReplayLawyers]:
    """Cases with relevance by control's and by treatment's ranker, and the lawyers, in pools of equal chances."""
    draw = np.random.default_rng(seed)
    at = np.sort(draw.uniform(0, DAYS * DAY, CASES))
    pool = draw.integers(0, LAWYERS // POOL, CASES)
    lawyer = (pool[:, None] * POOL + np.arange(POOL)).ravel()
    starts = np.arange(0, CASES * POOL + 1, POOL)
    talent, fit = draw.normal(0, 1, LAWYERS), draw.normal(0, 1, len(lawyer))
    knows = 1 / (1 + np.exp(-(1.6 * talent[lawyer] + 0.6 * fit)))
    guesses = 1 / (1 + np.exp(-(0.25 * draw.normal(0, 1, LAWYERS)[lawyer] + 0.25 * draw.normal(0, 1, len(lawyer)))))
    lawyers = ReplayLawyers(
        draw.integers(8, 31, LAWYERS).astype(float), np.full(LAWYERS, -100 * DAY), np.zeros(LAWYERS)
    )
    return ReplayCases(at, starts, lawyer, guesses), ReplayCases(at, starts, lawyer, knows), lawyers


def excess(seed: int, share: float, rules: tuple[Rule, Rule], days: int, *, own_loads: bool, month: bool) -> float:
    """Control alone for 30 days, then the experiment: what the guardrail reads after so many days of it.

    month: of the last 30 days, as if the arm had taken over; else of its offers alone.
    """
    control, treatment, lawyers = market(seed)
    begin = DAYS / 2 * DAY
    end = begin + days * DAY
    base, made = np.zeros(LAWYERS), 0
    treated = np.random.default_rng(seed + 100).random(CASES) < share
    everything = Ledger.empty(LAWYERS)
    own = {arm: Ledger.empty(LAWYERS) for arm in ("control", "treatment")}
    client: list[int] = []
    offered: list[int] = []
    arms: list[bool] = []
    for case, at in enumerate(control.at.tolist()):
        if at > end:
            break
        arm = "treatment" if treated[case] and at > begin else "control"
        cases, rule = (treatment, rules[1]) if arm == "treatment" else (control, rules[0])
        here = slice(cases.starts[case], cases.starts[case + 1])
        who = cases.lawyer[here]
        for ledger in (everything, *own.values()):
            ledger.advance(at)
        counts = {name: ledger.offers_30d for name, ledger in own.items()}
        sums = {name: float(offers.sum()) for name, offers in counts.items()}
        times = {name: sum(sums.values()) / total if total else 1.0 for name, total in sums.items()}
        loads = ArmLoads(everything.offers_30d, counts if own_loads else {}, times).of(arm, who)
        z, _ = relative_load(loads, lawyers.cases_30d[who], lawyers.capacity[who], np.ones(len(who)), rule)
        chosen = who[choose(cases.relevance[here], z, everything.last_offered[who], ties(loads, who), rule).chosen]
        everything.reserve(chosen, at)
        if end - 30 * DAY < at <= begin:
            base[chosen] += 1
        if at > begin:
            made += len(chosen)
            own[arm].reserve(chosen, at)
            client += [len(arms)] * len(chosen)
            offered += chosen.tolist()
            arms.append(arm == "treatment")
    window: dict[str, Any] = {"base": base, "made": made} if month else {}
    arguments: Any = (arms, np.zeros(len(arms)), client, offered, lawyers.capacity)
    return interim_analysis(*arguments, seed=1, permutations=199, **window).excess


def calibrated(seed: int) -> tuple[tuple[Rule, Rule], tuple[Rule, Rule]]:
    """Rules of (control, treatment): each alone, and treatment taking over from control."""
    from datetime import UTC, datetime

    *both, lawyers = market(seed)
    rankers = [Ranker(version="1"), Ranker(version="2")]
    end = datetime.fromtimestamp(DAYS * DAY, UTC)
    alone = [fit_all(Window(end, rankers[:1], [cases], lawyers, 1.0), [Rule()])[0].weight for cases in both]
    over = [found.weight for found in fit_all(Window(end, rankers, both, lawyers, 1.0), [Rule(), Rule()])]
    return (Rule(weight=alone[0]), Rule(weight=alone[1])), (Rule(weight=over[0]), Rule(weight=over[1]))


def main() -> None:
    from tqdm import tqdm

    ways = {  # (λ of the takeover, own loads, the month)
        "one ledger, each λ alone": (False, False, False),
        "own loads, each λ alone": (False, True, False),
        "own loads, λ of the takeover": (True, True, False),
        "… and of the month as if it had taken over": (True, True, True),
    }
    columns = [(share, days) for share in SHARES for days in LOOKS]
    found: dict[str, dict[tuple[float, int], list[float]]] = {name: {c: [] for c in columns} for name in ways}
    for seed in tqdm(SEEDS, unit=" markets"):
        alone, over = calibrated(seed)
        for name, (taken_over, own_loads, month) in ways.items():
            for share, days in columns:
                rules = over if taken_over else alone
                found[name][share, days].append(excess(seed, share, rules, days, own_loads=own_loads, month=month))
    lines = [
        f"| {name} | "
        + " | ".join(f"{np.mean(v):+.3f} ({min(v):+.3f} to {max(v):+.3f})" for v in shares.values())
        + " |"
        for name, shares in found.items()
    ]
    header = [
        "| | " + " | ".join(f"{share:.0%} treated, {days} days" for share, days in columns) + " |",
        "|---|" + "--:|" * len(columns),
    ]
    text = "\n".join([*header, *lines])
    write_part(DOCS, "arm-fairness", text)
    print(text)


if __name__ == "__main__":
    main()
