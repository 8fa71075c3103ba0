"""Allocation of a case's offers among its eligible lawyers: relative-load price with a client guarantee. Pure.

A lawyer's score is relevance + λ · (1 − load relative to the pool), so that lower load earns more offers; λ is lowered
until the five offered keep a share θ of the relevance the best five would have had. The offers made so far are the only
state. Method, defaults and what it reaches: docs/evaluation.md.
"""

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Floats, Ints
from litgo_pipelines.equity.share import LEAST_SHARE

OFFERS_PER_CASE = 5
STEPS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)  # of λ, tried in this order
NEVER = -np.inf  # last_offered of a lawyer who never got an offer: sorts first
_NOISE = 1e-9  # below it two sums of relevance are the same


@dataclass(frozen=True)
class Rule:
    """Parameters. Raises ValueError for values the rule is not defined for."""

    weight: float = 0.6  # λ: what a load difference of one pool mean is worth in relevance
    keep: float = 0.7  # θ: share of the best five's relevance that the offered five keep
    cases_weight: float = 0.1  # share of contracts in the load; the rest are offers
    grid: float = 0.01  # scores are rounded to it, so that ties are exact
    cap: float = 2.0  # relative load above it counts as it

    def __post_init__(self) -> None:
        for name, value, high in (
            ("weight", self.weight, 10),
            ("keep", self.keep, 1),
            ("cases_weight", self.cases_weight, 1),
        ):
            if not 0 <= value <= high:
                raise ValueError(f"{name} must lie in 0…{high}, not {value!r}")
        if not (self.grid > 0 and 1 <= self.cap <= 2):
            raise ValueError("grid must be above 0 and cap lie in 1…2")


@dataclass(frozen=True)
class Rung:
    """One λ that was tried and the five it gave, best score first."""

    weight: float
    top: Ints


@dataclass(frozen=True)
class Choice:
    """Indices into the pool's arrays. `chosen`: who is offered, most relevant first; `rungs`: every λ tried, the one
    used last; `best`: the most relevant five."""

    chosen: Ints
    best: Ints
    rungs: tuple[Rung, ...]

    @property
    def weight(self) -> float:
        """The λ that was used."""
        return self.rungs[-1].weight


def relative_load(
    offers_30d: Floats, cases_30d: Floats, capacity: Floats, active_share: Floats, rule: Rule
) -> tuple[Floats, float]:
    """(z, pool mean): each lawyer's load against the pool's mean, all 1 when nobody has any; shapes (n,).

    load = ((1 − w) · offers / 5 + w · cases) / room, where room = capacity · share of the pool's demand that came while
    the lawyer could be offered it (`equity/share.py`), at least LEAST_SHARE; mean = Σ load · room / Σ room. Capacity
    above 0.
    """
    work = (1 - rule.cases_weight) / OFFERS_PER_CASE * offers_30d + rule.cases_weight * cases_30d
    room = capacity * np.maximum(active_share, LEAST_SHARE)
    total = float(work.sum())
    if total <= 0:
        return np.ones(len(work)), 0.0
    mean = total / float(room.sum())
    return work / room / mean, mean


def equity_term(z: Floats, rule: Rule) -> Floats:
    """1 for no load, 0 at the pool's mean, 1 − cap for the most loaded; times λ it is added to relevance."""
    return 1 - np.minimum(z, rule.cap)


def choose(
    relevance: Floats, z: Floats, last_offered: Floats, tie: Ints, rule: Rule, k: int = OFFERS_PER_CASE
) -> Choice:
    """The k to be offered out of a pool; all of a pool of k or fewer. Arrays of shape (n,), in any order.

    relevance in [0, 1]; last_offered in seconds, NEVER for none; tie: distinct numbers that settle what is still equal.
    Raises ValueError for a relevance outside [0, 1] or NaN.
    """
    if not ((relevance >= 0) & (relevance <= 1)).all():
        raise ValueError("relevance must lie in [0, 1]")
    if not (z >= 0).all():
        raise ValueError("load must not be below 0")
    best = _top(relevance, last_offered, tie, k)
    term = equity_term(z, rule)
    enough = rule.keep * relevance[best].sum() - _NOISE
    rungs = []
    for step in STEPS:
        weight = rule.weight * step
        top = best if weight == 0 else _top(_score(relevance, weight, term, rule), last_offered, tie, k)
        rungs.append(Rung(weight, top))
        if weight == 0 or relevance[top].sum() >= enough:
            break
    order = np.lexsort((tie[top], last_offered[top], -relevance[top]))
    return Choice(top[order], best, tuple(rungs))


def _score(relevance: Floats, weight: float, term: Floats, rule: Rule) -> Floats:
    if weight == 0:  # the price is off: no grid either, the most relevant are the best
        return relevance
    # The inner rounding takes away what floating point added, so that equal scores are equal. Halves go up: the lowest
    # score of a step belongs to it (`load_for_offer`).
    return np.floor(np.round((relevance + weight * term) / rule.grid, 6) + 0.5)


def _top(score: Floats, last_offered: Floats, tie: Ints, k: int) -> Ints:
    """The k highest scores, then who has waited longest, then the lower number; best first."""
    n = len(score)
    rows = np.arange(n) if n <= k else np.flatnonzero(score >= np.partition(score, n - k)[n - k])
    return rows[np.lexsort((tie[rows], last_offered[rows], -score[rows]))[:k]]


def ties(offers_30d: Floats, number: Ints) -> Ints:
    """Tie numbers for `choose`: fewer offers first, then the lower number (below 2³²).

    Lawyers who were offered the same case wait equally long. By number alone the same one of two alike would win every
    time, and they would come apart by more than one offer.
    """
    return (offers_30d.astype(np.int64) << 32) + number


def load_for_offer(
    i: int, choice: Choice, relevance: Floats, z: Floats, last_offered: Floats, tie: Ints, rule: Rule
) -> float | None:
    """The highest relative load at which lawyer `i`, not chosen, would have been; None when none would have done at the
    λ that were tried.

    Everything else held fixed, the pool's mean too. Entering means passing the last of a λ's five and leaving a set
    that keeps enough relevance.
    """
    enough = rule.keep * relevance[choice.best].sum() - _NOISE
    found = None
    for rung in choice.rungs:
        last = int(rung.top[-1])
        if i in rung.top or relevance[rung.top].sum() - relevance[last] + relevance[i] < enough or rung.weight == 0:
            continue
        bar = float(_score(relevance[last], rung.weight, equity_term(z[last], rule), rule))
        wins_tie = (last_offered[i], tie[i]) < (last_offered[last], tie[last])
        # the lowest score that rounds to the bar (or to the next step, where the tie is lost)
        needed = (bar + (0 if wins_tie else 1) - 0.5) * rule.grid
        load = 1 - (needed - relevance[i]) / rung.weight
        if load > -_NOISE:  # 0, but for floating point
            found = max(found or 0.0, float(load))
    return found


def next_best(
    choice: Choice, relevance: Floats, z: Floats, last_offered: Floats, tie: Ints, rule: Rule, k: int, besides: Ints
) -> Ints:
    """The k who come next at the λ that was used, leaving out `besides`; best first."""
    score = _score(relevance, choice.weight, equity_term(z, rule), rule)
    following = _top(score, last_offered, tie, k + len(besides))
    return following[~np.isin(following, besides)][:k]


def explore(
    choice: Choice, number: Ints, share: float, seed: int, k: int = OFFERS_PER_CASE
) -> tuple[Ints, Floats, NDArray[np.bool_]]:
    """(offered, propensity, by chance): each position is given, with probability `share`, to somebody of the pool who
    was not chosen, all of them alike. number: of each lawyer of the pool, the order draws go by; seed: 128 bits.

    A lawyer's propensity is the probability to be among the offered. With r = n − k others and X = min(B, r), B ~
    Binomial(k, share), it is 1 − E[X] / k for a chosen one and E[X] / r for any other. A pool of k or fewer has no
    others: everybody is offered, with propensity 1.
    """
    chosen = choice.chosen
    others = len(number) - len(chosen)
    if share <= 0 or others == 0:
        return chosen, np.ones(len(chosen)), np.zeros(len(chosen), bool)
    weights = [comb(k, x) * share**x * (1 - share) ** (k - x) for x in range(k + 1)]
    expected = sum(min(x, others) * weight for x, weight in enumerate(weights))
    # The inverse of the distribution function: a generator is made only where something moves.
    drawn, below = (seed >> 64) / 2**64, 0.0
    moved = 0
    while moved < k and drawn >= (below := below + weights[moved]):
        moved += 1
    moved = min(moved, others)
    offered = chosen.copy()
    by_chance = np.zeros(k, bool)
    if moved:
        rng = np.random.default_rng(seed)
        by_chance[rng.choice(k, moved, replace=False)] = True
        rest = np.setdiff1d(np.arange(len(number)), chosen)
        offered[by_chance] = rng.choice(rest[np.argsort(number[rest])], moved, replace=False)
    return offered, np.where(by_chance, expected / others, 1 - expected / k), by_chance
