"""Share of a pool's demand that came while a lawyer could be offered it. Pure.

What a lawyer can take in a window is capacity · share. Days alone will not do: after demand fell to a fifth, a
newcomer's days would count for as much as those in which the others were offered five times as many cases.

A pool is who has the same primary area and state; a case without a place counts for every state. Few cases say little
about when demand came: `PRIOR_CASES`, spread evenly over the window, are added to those there were. Instants are
seconds since the epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Floats, Ints
from litgo_pipelines.marketplace.geo import UNKNOWN

PRIOR_CASES = 10.0
SEPARATOR = "|"
# Less counts as this: one offer on the first day must not close the door for weeks. It is also what somebody new is
# offered at once, two and a half days' work; at .15 it was 22 days' after demand had fallen to a fifth, and taken back
# from the eleventh day on (docs/evaluation.md, "People who come and go").
LEAST_SHARE = 0.08


def pool_name(area: str, state: str) -> str:
    return f"{area}{SEPARATOR}{state}"


@dataclass(frozen=True)
class Demand:
    """Cases of a window, shape (n,): how many of which pool arrived between two instants."""

    pool: NDArray[np.str_]
    starts: Floats
    ends: Floats  # above starts
    cases: Floats

    def rows(self) -> dict[str, Ints]:
        """Pool → its rows."""
        names, number = np.unique(self.pool, return_inverse=True)
        parts = np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number, minlength=len(names)))[:-1])
        return dict(zip(names.tolist(), parts, strict=True)) if len(names) else {}

    def until(self, at: Floats, here: Ints, window: tuple[float, float]) -> Floats:
        """Cases of some rows from the window's start to each instant, with the prior; shape of `at`."""
        low, high = window
        edges = np.concatenate([[low], self.starts[here], self.ends[here], [high]])
        rate = self.cases[here] / (self.ends[here] - self.starts[here])
        change = np.concatenate([[PRIOR_CASES / (high - low)], rate, -rate, [0.0]])
        order = np.argsort(edges, kind="stable")
        edges, flow = edges[order], np.cumsum(change[order])
        made = np.concatenate([[0.0], np.cumsum(flow[:-1] * np.diff(edges))])
        return np.interp(np.clip(at, low, high), edges, made) - np.interp(low, edges, made)


@dataclass(frozen=True)
class Stretches:
    """When lawyers could be offered a case, of those who could not all the time.

    lawyers, pool: (n,), each once; of: (stretches,) rows of them; the stretches of a lawyer may overlap.
    """

    lawyers: Sequence[str]
    pool: NDArray[np.str_]
    of: Ints
    starts: Floats
    ends: Floats


def without_overlap(of: Ints, starts: Floats, ends: Floats) -> tuple[Ints, Floats, Floats]:
    """The same time, each moment of a lawyer once; ordered by lawyer and start. Parts may be empty."""
    order = np.lexsort((starts, of))
    of, starts, ends = of[order], starts[order], ends[order]
    if not len(of):
        return of, starts, ends
    span = float(ends.max() - starts.min()) + 1  # lawyers one after the other on one axis: a running maximum for all
    shift = of * span - starts.min()
    reached = np.maximum.accumulate(ends + shift) - shift
    before = np.concatenate([[-np.inf], np.where(of[1:] == of[:-1], reached[:-1], -np.inf)])
    return of, np.minimum(np.maximum(starts, before), ends), ends


def shares(stretches: Stretches, demand: Demand, window: tuple[float, float]) -> Floats:
    """Share of each lawyer in [0, 1], shape (n,): 0 for who never could be offered a case."""
    of, starts, ends = without_overlap(stretches.of, stretches.starts, stretches.ends)
    found = np.zeros(len(stretches.lawyers))
    rows, none = demand.rows(), np.empty(0, np.int64)
    names, number = np.unique(stretches.pool, return_inverse=True)
    pools = number[of]
    for code, pool in enumerate(names.tolist()):
        here = pools == code
        anywhere = pool_name(pool.rsplit(SEPARATOR, 1)[0], UNKNOWN)
        cases = np.concatenate([rows.get(name, none) for name in {pool, anywhere}])
        came = demand.until(np.concatenate([starts[here], ends[here], [window[1]]]), cases, window)
        n = int(here.sum())
        np.add.at(found, of[here], (came[n : 2 * n] - came[:n]) / came[-1])
    return np.minimum(found, 1.0)
