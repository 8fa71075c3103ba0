"""Nearest first: where a case had to look further for five lawyers, those it had before are offered it in any case.

They are fewer than five. The other offers go to the ring that was added, by the allocation as ever; so the number of
local lawyers changes nothing for each of them. Pure.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.matching.allocation import OFFERS_PER_CASE, Choice, Floats, Ints, Rule, Rung, choose, explore


@dataclass(frozen=True)
class Offered:
    """Who is offered a case, as indices into the pool's arrays, with propensities; `choice`: of those not `nearest`."""

    choice: Choice
    nearest: Ints
    rows: Ints
    propensity: Floats
    by_chance: NDArray[np.bool_]


def offer(
    near: NDArray[np.bool_],
    relevance: Floats,
    load: Floats,
    last_offered: Floats,
    tie: Ints,
    rule: Rule,
    number: Ints,
    exploration: float,
    seed: int,
) -> Offered:
    """`near`: who was eligible before the radius grew, and is offered the case. Arrays of the pool, shape (n,).

    number, exploration, seed: of `allocation.explore`. With nobody near this is `choose` and `explore`.
    """
    if near.sum() >= OFFERS_PER_CASE:  # somebody came since the radius was found to be too small
        near = np.zeros(len(near), bool)
    nearest, rest = np.flatnonzero(near), np.flatnonzero(~near)
    k = OFFERS_PER_CASE - len(nearest)
    found = choose(relevance[rest], load[rest], last_offered[rest], tie[rest], rule, k)
    drawn, propensity, by_chance = explore(found, number[rest], exploration, seed, k)
    rungs = tuple(Rung(rung.weight, rest[rung.top]) for rung in found.rungs)
    rows = np.concatenate([nearest, rest[drawn]])
    order = np.lexsort((number[rows], -relevance[rows]))  # shown by relevance
    return Offered(
        Choice(rest[found.chosen], rest[found.best], rungs),
        nearest,
        rows[order],
        np.concatenate([np.ones(len(nearest)), propensity])[order],
        np.concatenate([np.zeros(len(nearest), bool), by_chance])[order],
    )
