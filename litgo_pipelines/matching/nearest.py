"""Turns: who is offered a case before the allocation chooses among the others. Pure.

Where a case had to look further for five lawyers, those it had before are offered it in any case; they are fewer than
five. The other offers go to the ring that was added, by the allocation as usual; so the number of local lawyers changes
nothing for each of them. Who was offered today what capacity allows (`day_limit`) comes after all who were not.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Floats, Ints
from litgo_pipelines.matching.allocation import OFFERS_PER_CASE, Choice, Rule, Rung, choose, explore


@dataclass(frozen=True)
class Offered:
    """Who is offered a case, as indices into the pool's arrays, with propensities; `choice`: of those not `nearest`.

    nearest: whose turn came before there was a choice.
    """

    choice: Choice
    nearest: Ints
    rows: Ints
    propensity: Floats
    by_chance: NDArray[np.bool_]


def turns(near: NDArray[np.bool_], free: NDArray[np.bool_], k: int = OFFERS_PER_CASE) -> tuple[Ints, Ints]:
    """(who is offered the case without a choice, fewer than k; among whom the others are chosen), rows of the pool."""
    if near.sum() >= k:  # somebody came since the radius was found to be too small
        near = np.zeros(len(near), bool)
    taken = np.zeros(len(near), bool)
    for turn in (near & free, free, near | free):
        reached = taken | turn
        if reached.sum() >= k or reached.all():
            return np.flatnonzero(taken), np.flatnonzero(turn & ~taken)
        taken = reached
    return np.flatnonzero(taken), np.flatnonzero(~taken)


def offer(
    near: NDArray[np.bool_],
    free: NDArray[np.bool_],
    relevance: Floats,
    load: Floats,
    last_offered: Floats,
    tie: Ints,
    rule: Rule,
    number: Ints,
    exploration: float,
    seed: int,
) -> Offered:
    """Arrays of the pool, shape (n,). near: who was eligible before the radius grew; free: who is not over the limit.

    number, exploration, seed: of `allocation.explore`. With nobody near and all free this is `choose` and `explore`.
    """
    first, rest = turns(near, free)
    k = OFFERS_PER_CASE - len(first)
    found = choose(relevance[rest], load[rest], last_offered[rest], tie[rest], rule, k)
    drawn, propensity, by_chance = explore(found, number[rest], exploration, seed, k)
    rungs = tuple(Rung(rung.weight, rest[rung.top]) for rung in found.rungs)
    rows = np.concatenate([first, rest[drawn]])
    order = np.lexsort((number[rows], -relevance[rows]))  # shown by relevance
    return Offered(
        Choice(rest[found.chosen], rest[found.best], rungs),
        first,
        rows[order],
        np.concatenate([np.ones(len(first)), propensity])[order],
        np.concatenate([np.zeros(len(first), bool), by_chance])[order],
    )
