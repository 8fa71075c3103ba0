"""Replay of the allocation: who would have been offered past cases, how evenly, at what cost. Pure.

Belongs here: the ledger of offers, a replay with its figures, the calibration of λ. How the five of one case are chosen
belongs to `allocation`; where cases and relevance come from, to the caller.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Floats, Ints
from litgo_pipelines.equity.distribution import COUNTED_SHARE, gini
from litgo_pipelines.equity.share import PRIOR_CASES
from litgo_pipelines.matching import day_limit
from litgo_pipelines.matching.allocation import NEVER, OFFERS_PER_CASE, Rule, choose, relative_load, ties
from litgo_pipelines.matching.nearest import turns

WINDOW = 30 * 86_400.0  # seconds
TARGET_GINI = 0.28
STEPS = 20  # of λ from 0 to 1


class Ledger:
    """Offers of the last 30 days and the newest one of each lawyer, shape (n,); instants and window in one unit.

    offers_in: (spans, n), in the days of `day_limit.SPANS`, the window being the longest of them. What it starts with
    stays counted; only what was reserved here is forgotten in time.
    """

    def __init__(self, offers_30d: Floats, last_offered: Floats, window: float = WINDOW) -> None:
        self.last_offered = last_offered.astype(np.float64)
        self._spans = [window * days / day_limit.SPANS[-1] for days in day_limit.SPANS]
        self.offers_in = np.zeros((len(self._spans), len(offers_30d)))
        self.offers_30d = self.offers_in[-1]
        self.offers_30d += offers_30d
        self._made: list[deque[tuple[float, Ints]]] = [deque() for _ in self._spans]
        self._now = NEVER

    @classmethod
    def empty(cls, n: int, window: float = WINDOW) -> "Ledger":
        return cls(np.zeros(n), np.full(n, NEVER), window)

    def advance(self, to: float) -> None:
        """Forget what was reserved a window before `to` or earlier. Raises ValueError when time goes back."""
        if to < self._now:
            raise ValueError(f"the ledger is at {self._now} already and cannot go back to {to}")
        self._now = to
        for span, made, offers in zip(self._spans, self._made, self.offers_in, strict=True):
            while made and made[0][0] <= to - span:
                offers[made.popleft()[1]] -= 1

    def reserve(self, lawyers: Ints, at: float) -> None:
        """One offer for each of the (distinct) lawyers. Raises as `advance`."""
        self.advance(at)
        self.offers_in[:, lawyers] += 1
        self.last_offered[lawyers] = at
        for made in self._made:
            made.append((at, lawyers))

    def forget(self, lawyer: int) -> None:
        """As if nothing had ever been offered to somebody."""
        self.offers_in[:, lawyer] = 0
        self.last_offered[lawyer] = NEVER
        for made in self._made:
            for place, (at, lawyers) in enumerate(made):
                made[place] = (at, lawyers[lawyers != lawyer])


@dataclass(frozen=True)
class ReplayLawyers:
    """Columns of shape (n,); `joined` an instant. What changes meanwhile may be changed in place.

    away: (lawyer, from, until) of those who could not be offered cases for a time, apart from each other.
    """

    capacity: Floats
    joined: Floats
    cases_30d: Floats
    away: Sequence[tuple[int, float, float]] = ()

    def active_share(self, end: float, who: Ints, demand: Floats) -> Floats:
        """Share of the demand of the 30 days before `end` that came while each could be offered it, in [0, 1], as
        `equity.share` has it. demand: instants of the cases so far, ascending; all are of one pool."""
        start = end - WINDOW

        def came(at: Floats) -> Floats:
            at = np.clip(at, start, end)
            cases = np.searchsorted(demand, at, side="left") - np.searchsorted(demand, start, side="left")
            return np.asarray(cases + PRIOR_CASES * (at - start) / WINDOW)

        whole = float(came(np.array([end]))[0])
        found = np.ones(len(who))
        new = np.flatnonzero(self.joined[who] > start)
        found[new] = (whole - came(self.joined[who[new]])) / whole
        if len(self._away[0]):
            lawyer, since, until = self._away
            lost = np.zeros(len(self.capacity))
            np.add.at(
                lost,
                lawyer,
                came(np.maximum(until, self.joined[lawyer])) - came(np.maximum(since, self.joined[lawyer])),
            )
            found -= lost[who] / whole
        return np.clip(found, 0.0, 1.0)

    @cached_property
    def _away(self) -> tuple[Ints, Floats, Floats]:
        lawyer, since, until = np.array(self.away, float).reshape(-1, 3).T
        return lawyer.astype(np.int64), since, until


@dataclass(frozen=True)
class ReplayCases:
    """Cases by instant (seconds, ascending). Eligible for case i are lawyer[starts[i]:starts[i + 1]], with relevance in
    [0, 1]; starts has one entry more than there are cases."""

    at: Floats
    starts: Ints
    lawyer: Ints
    relevance: Floats


@dataclass(frozen=True)
class Pool:
    """What a policy may know of a case: its eligible lawyers as columns of shape (m,)."""

    lawyer: Ints
    relevance: Floats
    offers_30d: Floats
    cases_30d: Floats
    capacity: Floats
    active_share: Floats
    last_offered: Floats
    offers_in: Floats  # (spans, m), see `day_limit`


Policy = Callable[[Pool], Ints]  # → positions in the pool: who is offered, most relevant first


def price(rule: Rule, k: int = OFFERS_PER_CASE, burst_days: float = day_limit.BURST_DAYS) -> Policy:
    """The allocation that serves; with weight 0 and an infinite burst the k most relevant."""

    def policy(pool: Pool) -> Ints:
        z, _ = relative_load(pool.offers_30d, pool.cases_30d, pool.capacity, pool.active_share, rule)
        tie = ties(pool.offers_30d, pool.lawyer)
        free = day_limit.free(pool.offers_in, pool.capacity, burst_days)
        first, rest = turns(np.zeros(len(free), bool), free, k)
        found = choose(pool.relevance[rest], z[rest], pool.last_offered[rest], tie[rest], rule, k - len(first))
        chosen = np.concatenate([first, rest[found.chosen]])
        return chosen[np.lexsort((tie[chosen], pool.last_offered[chosen], -pool.relevance[chosen]))]

    return policy


@dataclass(frozen=True)
class Figures:
    """One window. Means of lawyers are over those counted: eligible for a case of the window and active for more than
    15 % of it. What does not exist for want of data is NaN.

    kept: summed relevance of the offered over that of the k most relevant; kept_p5: the fifth percentile of that ratio.
    Both over the `chosen` cases that had a choice, more than k eligible.
    """

    cases: int
    chosen: int
    utilisation: Floats  # (n,): offers / (5 · capacity · active share), NaN for a lawyer who is not counted
    gini: float
    coverage: float
    kept: float
    kept_p5: float


class Replay:
    """Offers case by case, each seeing those before it, and remembers what `figures` needs."""

    def __init__(self, lawyers: ReplayLawyers, policy: Policy, k: int = OFFERS_PER_CASE) -> None:
        self.lawyers, self.k = lawyers, k
        self.ledger = Ledger.empty(len(lawyers.capacity))
        self.policy = policy
        self._at = np.empty(1024)  # of the cases so far, the first `_cases` of it
        self._cases = 0
        self.eligible: list[Ints] = []
        self.offered: list[Ints] = []  # lawyers, per case
        self._kept: list[tuple[float, float]] = []  # relevance of the offered, of the most relevant

    def offer(self, at: float, lawyer: Ints, relevance: Floats) -> Ints:
        """Offer a case to at most k of its eligible lawyers (distinct): their positions. Raises ValueError when `at`
        lies before the last case, a relevance outside [0, 1], or the policy offers to more."""
        ledger, lawyers = self.ledger, self.lawyers
        ledger.advance(at)
        pool = Pool(
            lawyer,
            relevance,
            ledger.offers_30d[lawyer],
            lawyers.cases_30d[lawyer],
            lawyers.capacity[lawyer],
            lawyers.active_share(at, lawyer, self.instants),
            ledger.last_offered[lawyer],
            ledger.offers_in[:, lawyer],
        )
        chosen = self.policy(pool)
        if len(chosen) > self.k:
            raise ValueError(f"the policy offers a case to {len(chosen)}, the replay is for {self.k}")
        ledger.reserve(lawyer[chosen], at)
        self._demand(at)
        self.eligible.append(lawyer)
        self.offered.append(lawyer[chosen])
        self._kept.append((float(relevance[chosen].sum()), float(np.sort(relevance)[-self.k :].sum())))
        return chosen

    @property
    def instants(self) -> Floats:
        """Of the cases so far."""
        return self._at[: self._cases]

    def _demand(self, at: float) -> None:
        if self._cases == len(self._at):
            self._at = np.concatenate([self._at, np.empty(self._cases)])
        self._at[self._cases] = at
        self._cases += 1

    def _window(self, end: float) -> slice:
        low, high = np.searchsorted(self.instants, [end - WINDOW, end], side="right")
        return slice(int(low), int(high))

    def _counted(self, end: float) -> NDArray[np.bool_]:
        found = np.zeros(len(self.lawyers.capacity), bool)
        found[_concatenated(self.eligible[self._window(end)])] = True
        return found & (self.active_share(end) > COUNTED_SHARE)

    def active_share(self, end: float) -> Floats:
        """Of every lawyer, at an instant not before the last case."""
        return self.lawyers.active_share(end, np.arange(len(self.lawyers.capacity)), self.instants)

    def figures(self, end: float) -> Figures:
        """Of the 30 days to `end` (inclusive)."""
        window, counted = self._window(end), self._counted(end)
        n = len(counted)
        offers = np.bincount(_concatenated(self.offered[window]), minlength=n)
        room = OFFERS_PER_CASE * self.lawyers.capacity * self.active_share(end)
        u = np.divide(offers, room, out=np.full(n, np.nan), where=counted)
        had_choice = np.array([len(pool) > self.k for pool in self.eligible[window]], bool)
        got, best = np.array(self._kept[window]).reshape(-1, 2)[had_choice].T
        # nobody relevant: nothing could be lost
        ratio = np.divide(got, best, out=np.ones(len(got)), where=best > 0)
        return Figures(
            cases=len(had_choice),
            chosen=len(got),
            utilisation=u,
            gini=gini(u[counted]),
            coverage=float((offers[counted] > 0).mean()) if counted.any() else float("nan"),
            kept=float(got.sum() / best.sum()) if best.sum() > 0 else float("nan"),
            kept_p5=float(np.percentile(ratio, 5)) if len(ratio) else float("nan"),
        )

    def coverage_bound(self, end: float) -> float:
        """Largest share of the counted lawyers who could have got an offer in the window at all: maximum flow, k offers
        per case. The same for every policy."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import maximum_flow

        counted = self._counted(end)
        total = int(counted.sum())
        if not total:
            return float("nan")
        pools: dict[bytes, int] = {}  # equal pools as one, with as many offers
        for pool in self.eligible[self._window(end)]:
            key = np.sort(pool[counted[pool]].astype(np.int64)).tobytes()
            pools[key] = pools.get(key, 0) + self.k
        members = [np.frombuffer(key, np.int64) for key in pools]
        offers = np.minimum(list(pools.values()), [len(pool) for pool in members])
        lawyer = np.flatnonzero(counted)
        source, sink, first = 0, 1, 2 + len(members)  # pools from 2 on, then lawyers
        pool_node = 2 + np.arange(len(members))
        rows = [np.zeros(len(members), int), np.repeat(pool_node, [len(p) for p in members]), first + lawyer]
        columns = [pool_node, first + _concatenated(members), np.full(total, sink)]
        capacity = np.concatenate([offers, np.ones(len(rows[1]) + total, int)]).astype(np.int32)
        nodes = first + len(counted)
        graph = coo_array((capacity, (np.concatenate(rows), np.concatenate(columns))), shape=(nodes, nodes)).tocsr()
        return float(maximum_flow(graph, source, sink).flow_value / total)


def _concatenated(arrays: list[Ints]) -> Ints:
    return np.concatenate([*arrays, np.empty(0, np.int64)])


@dataclass(frozen=True)
class WarmStart:
    """Who offered the cases up to an instant: another policy, by its own relevance of the same pairs."""

    until: float
    relevance: Floats
    policy: Policy


def replay(
    cases: ReplayCases,
    lawyers: ReplayLawyers,
    policy: Policy,
    k: int = OFFERS_PER_CASE,
    step: Callable[[], object] = lambda: None,
    before: WarmStart | None = None,
) -> Replay:
    """All cases through one policy, or through another `before`, from an empty ledger; `step` is called after each."""
    run = Replay(lawyers, policy, k)
    for at, low, high in zip(cases.at.tolist(), cases.starts[:-1].tolist(), cases.starts[1:].tolist(), strict=True):
        early = before is not None and at <= before.until
        run.policy, relevance = (before.policy, before.relevance) if early and before else (policy, cases.relevance)
        if high > low:
            run.offer(at, cases.lawyer[low:high], relevance[low:high])
        step()
    return run


@dataclass(frozen=True)
class Calibration:
    """`weight`: the smallest λ that reached the target, None when none did; `curve`: every λ that was replayed,
    ascending, with its figures."""

    weight: float | None
    curve: tuple[tuple[float, Figures], ...]


def calibrate(
    cases: ReplayCases,
    lawyers: ReplayLawyers,
    end: float,
    rule: Rule | None = None,
    target: float = TARGET_GINI,
    step: Callable[[], object] = lambda: None,
    before: WarmStart | None = None,
) -> Calibration:
    """The smallest λ in 0, .05, …, 1 whose Gini over the 30 days to `end` is at most `target`; else of `rule` as it is.

    By bisection, at most six replays: it takes Gini to fall as λ grows. Where it wavers by a hair, the result is a λ
    that reaches the target, next to one that does not. The replay starts with an empty ledger, so that the cases should
    begin 30 days before the window.
    """
    rule = rule or Rule()
    curve: dict[int, Figures] = {}

    def reached(number: int) -> bool:
        trial = replace(rule, weight=number / STEPS)
        curve[number] = replay(cases, lawyers, price(trial), step=step, before=before).figures(end)
        return curve[number].gini <= target

    low, high = -1, STEPS
    found = reached(high)
    while found and high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return Calibration(
        high / STEPS if found else None, tuple((number / STEPS, curve[number]) for number in sorted(curve))
    )
