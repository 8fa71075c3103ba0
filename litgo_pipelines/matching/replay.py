"""Replay of the allocation: who would have been offered past cases, how evenly, at what cost. Pure.

Belongs here: the ledger of offers, a replay with its figures, the calibration of λ. How the five of one case are chosen
belongs to `allocation`; where cases and relevance come from, to the caller.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.equity.distribution import LEAST_ACTIVE_SHARE, gini
from litgo_pipelines.matching.allocation import NEVER, OFFERS_PER_CASE, Rule, choose, relative_load, ties

WINDOW = 30 * 86_400.0  # seconds
TARGET_GINI = 0.28
STEPS = 20  # of λ from 0 to 1

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Ledger:
    """Offers of the last 30 days and the newest one of each lawyer, shape (n,); instants and window in one unit.

    What it starts with stays counted; only what was reserved here is forgotten in time.
    """

    def __init__(self, offers_30d: Floats, last_offered: Floats, window: float = WINDOW) -> None:
        self.offers_30d = offers_30d.astype(np.float64)
        self.last_offered = last_offered.astype(np.float64)
        self._window = window
        self._made: deque[tuple[float, Ints]] = deque()
        self._now = NEVER

    @classmethod
    def empty(cls, n: int, window: float = WINDOW) -> "Ledger":
        return cls(np.zeros(n), np.full(n, NEVER), window)

    def advance(self, to: float) -> None:
        """Forget what was reserved a window before `to` or earlier. Raises ValueError when time goes back."""
        if to < self._now:
            raise ValueError(f"the ledger is at {self._now} already and cannot go back to {to}")
        self._now = to
        while self._made and self._made[0][0] <= to - self._window:
            self.offers_30d[self._made.popleft()[1]] -= 1

    def reserve(self, lawyers: Ints, at: float) -> None:
        """One offer for each of the (distinct) lawyers. Raises as `advance`."""
        self.advance(at)
        self.offers_30d[lawyers] += 1
        self.last_offered[lawyers] = at
        self._made.append((at, lawyers))


@dataclass(frozen=True)
class ReplayLawyers:
    """Columns of shape (n,); `joined` an instant. What changes meanwhile may be changed in place."""

    capacity: Floats
    joined: Floats
    cases_30d: Floats

    def active_share(self, end: float, who: Ints | slice = slice(None)) -> Floats:
        """Share of the 30 days before `end` since each of them joined, in [0, 1]."""
        return np.clip((end - self.joined[who]) / WINDOW, 0.0, 1.0)


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


Policy = Callable[[Pool], Ints]  # → positions in the pool: who is offered, most relevant first


def price(rule: Rule, k: int = OFFERS_PER_CASE) -> Policy:
    """The allocation that serves; with weight 0 the k most relevant."""

    def policy(pool: Pool) -> Ints:
        z, _ = relative_load(pool.offers_30d, pool.cases_30d, pool.capacity, pool.active_share, rule)
        return choose(pool.relevance, z, pool.last_offered, ties(pool.offers_30d, pool.lawyer), rule, k).chosen

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
        self._at: list[float] = []
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
            lawyers.active_share(at, lawyer),
            ledger.last_offered[lawyer],
        )
        chosen = self.policy(pool)
        if len(chosen) > self.k:
            raise ValueError(f"the policy offers a case to {len(chosen)}, the replay is for {self.k}")
        ledger.reserve(lawyer[chosen], at)
        self._at.append(at)
        self.eligible.append(lawyer)
        self.offered.append(lawyer[chosen])
        self._kept.append((float(relevance[chosen].sum()), float(np.sort(relevance)[-self.k :].sum())))
        return chosen

    def _window(self, end: float) -> slice:
        low, high = np.searchsorted(self._at, [end - WINDOW, end], side="right")
        return slice(int(low), int(high))

    def _counted(self, end: float) -> NDArray[np.bool_]:
        found = np.zeros(len(self.lawyers.capacity), bool)
        found[_joined(self.eligible[self._window(end)])] = True
        return found & (self.lawyers.active_share(end) > LEAST_ACTIVE_SHARE)

    def figures(self, end: float) -> Figures:
        """Of the 30 days to `end` (inclusive)."""
        window, counted = self._window(end), self._counted(end)
        n = len(counted)
        offers = np.bincount(_joined(self.offered[window]), minlength=n)
        room = OFFERS_PER_CASE * self.lawyers.capacity * self.lawyers.active_share(end)
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
        columns = [pool_node, first + _joined(members), np.full(total, sink)]
        capacity = np.concatenate([offers, np.ones(len(rows[1]) + total, int)]).astype(np.int32)
        nodes = first + len(counted)
        graph = coo_array((capacity, (np.concatenate(rows), np.concatenate(columns))), shape=(nodes, nodes)).tocsr()
        return float(maximum_flow(graph, source, sink).flow_value / total)


def _joined(arrays: list[Ints]) -> Ints:
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
