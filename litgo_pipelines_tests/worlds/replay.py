"""Sixty days of cases with pools drawn at random, for the replay of allocation."""

import numpy as np

from litgo_pipelines.matching.replay import (
    ReplayCases,
    ReplayLawyers,
)

DAY = 86_400.0
END = 60 * DAY


def marketplace(seed: int, n: int = 60, cases: int = 900, largest: int = 30) -> tuple[ReplayCases, ReplayLawyers]:
    """Sixty days of cases with pools of 1 to `largest`; every tenth lawyer joins meanwhile."""
    rng = np.random.default_rng(seed)
    joined = np.where(np.arange(n) % 10 == 0, rng.uniform(0, END, n), -100 * DAY)
    at = np.sort(rng.uniform(0, END, cases))
    pools = [rng.permutation(np.flatnonzero(joined < t))[: rng.integers(1, largest + 1)] for t in at]
    starts = np.concatenate([[0], np.cumsum([len(pool) for pool in pools])])
    talent = rng.beta(4, 3, n)
    lawyer = np.concatenate(pools)
    relevance = np.clip(0.8 * talent[lawyer] + 0.2 * rng.random(len(lawyer)), 0, 1)
    lawyers = ReplayLawyers(rng.integers(5, 31, n).astype(float), joined, rng.integers(0, 4, n).astype(float))
    return ReplayCases(at, starts, lawyer, relevance), lawyers
