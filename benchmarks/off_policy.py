# ruff: noqa: E501 — Markdown tables do not wrap
"""Off-policy estimates on real logs with known propensities, against what the other policy really earned.

    python -m benchmarks.off_policy [folder of the men's campaign] [--docs docs]

The Open Bandit Dataset (Saito et al. 2020), small version, men's campaign: 10,000 impressions of the uniformly random
policy and 10,000 of Bernoulli Thompson sampling in the same week. The files are read, nothing of them is copied here.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.experiments import DOCS, write_part
from litgo_pipelines.experiments.off_policy import Estimate, PolicyEvaluation, evaluate_policy

DEFAULT_FOLDER = DOCS.parent.parent / "shared" / "data" / "obd_men"
DRAWS = 100_000
POSITIONS = 3
# Beta priors (clicks, impressions without one) of the 34 items with which the other policy began the week, as published
# with the data set's pipeline (st-tech/zr-obp, obp/policy/conf/prior_bts.yaml, Apache-2.0).
CLICKS = (
    47,
    8,
    62,
    142,
    3,
    6,
    100,
    48,
    23,
    71,
    61,
    13,
    16,
    518,
    30,
    7,
    4,
    23,
    8,
    10,
    11,
    11,
    18,
    121,
    11,
    4,
    32,
    30,
    9,
    22,
    6,
    23,
    5,
    54,
)
OTHERS = (
    12198,
    3566,
    15993,
    35522,
    2367,
    3100,
    24665,
    13210,
    7061,
    18061,
    17449,
    5644,
    6787,
    111326,
    8776,
    3334,
    2271,
    7389,
    2659,
    3665,
    4724,
    3561,
    5085,
    27407,
    4601,
    2923,
    8897,
    8654,
    4000,
    6580,
    3174,
    6766,
    2602,
    14506,
)


def thompson_sampling(seed: int = 0) -> NDArray[np.float64]:
    """Probability of each item at each position, (positions, items): the three highest draws, by Monte Carlo."""
    draws = np.random.default_rng(seed).beta(CLICKS, OTHERS, (DRAWS, len(CLICKS)))
    top = np.argsort(-draws, axis=1)[:, :POSITIONS]
    return np.array([np.bincount(top[:, place], minlength=len(CLICKS)) for place in range(POSITIONS)]) / DRAWS


def measure(folder: Path) -> tuple[PolicyEvaluation, float, float]:
    """(Estimate of the other policy from the random one's log, what it really earned, the standard error of that)."""
    columns = ["item_id", "position", "click", "propensity_score"]
    log, other = (pd.read_csv(folder / name / "men.csv", usecols=columns) for name in ("random", "bts"))
    target = thompson_sampling()[log["position"] - 1, log["item_id"]]
    found = evaluate_policy(log["click"].to_numpy(), log["propensity_score"].to_numpy(), target)
    clicks = other["click"].to_numpy()
    return found, float(clicks.mean()), float(clicks.std(ddof=1) / np.sqrt(len(clicks)))


def report(found: PolicyEvaluation, truth: float, error: float) -> str:
    def row(name: str, each: Estimate) -> str:
        return f"| {name} | {each.value:.4f} | {each.standard_error:.4f} | {each.low:.4f} to {each.high:.4f} |"

    rows = "\n".join(
        row(*pair)
        for pair in (
            ("random policy, its own clicks", found.logged),
            ("other policy by IPS", found.ips),
            ("other policy by SNIPS", found.snips),
            ("SNIPS − random", found.difference),
        )
    )
    return f"""Written by `python -m benchmarks.off_policy`. {found.rows:,} impressions of the uniformly random policy (Open Bandit
Dataset, men's campaign, small version); the other policy is Bernoulli Thompson sampling with its published priors.

| clicks an impression | estimate | standard error | 95 % interval |
|---|--:|--:|--:|
{rows}
| other policy, really | {truth:.4f} | {error:.4f} | {truth - 1.96 * error:.4f} to {truth + 1.96 * error:.4f} |

Effective sample size {found.effective_sample_size:,.0f} of {found.rows:,}, mean weight {found.mean_weight:.3f}, highest {found.highest_weight:.1f}.
Verdict: **{str(found.verdict).replace("_", " ")}** ({found.reason}). The point estimate is the random policy's own value and a third below the
truth: as a gate it would have refused a better policy, hence a veto and a report only."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--docs", type=Path, default=DOCS)
    arguments = parser.parse_args()
    text = report(*measure(arguments.folder))
    print(text)
    write_part(arguments.docs, "off-policy", text)


if __name__ == "__main__":
    main()
