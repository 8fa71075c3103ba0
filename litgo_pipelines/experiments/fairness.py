"""Permutation test of whether the treatment spreads offers less evenly over lawyers than control. Pure.

The Gini of a small arm is higher than that of a large one with the same model, because few offers are spread
unevenly by chance alone: at 10/90 by up to +.14. Shuffling the arms of clients shows how much of the difference is
that; what is reported is the difference minus the mean of the shuffled ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from litgo_pipelines.equity.distribution import gini

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FIRST_ANALYSIS = 1000  # clients; then twice as many each time
PERMUTATIONS = 999
_CELLS = 4_000_000  # of the (permutations, lawyers) table held at once


@dataclass(frozen=True)
class InterimAnalysis:
    """One interim analysis of the first `clients` exposed clients. gini_*: of offers per unit of capacity; p_value: of
    treatment being less even, (1 + shuffles at least as far) / (1 + permutations)."""

    clients: int
    gini_treatment: float
    gini_control: float
    permutation_mean: float
    p_value: float
    permutations: int
    seed: int

    @property
    def naive(self) -> float:
        return self.gini_treatment - self.gini_control

    @property
    def excess(self) -> float:
        """How much less even treatment's offers are, corrected for the arms' sizes; above 0 is worse."""
        return self.naive - self.permutation_mean


def interim_points(horizon: int) -> Iterator[int]:
    """Numbers of exposed clients at which the Gini is analysed: 1,000, 2,000, 4,000 … up to the horizon.

    >>> list(interim_points(20_000))
    [1000, 2000, 4000, 8000, 16000]
    """
    clients = FIRST_ANALYSIS
    while clients <= horizon:
        yield clients
        clients *= 2


def interim_analysis(
    treated: ArrayLike,
    phase: ArrayLike,
    offered_client: ArrayLike,
    offered_lawyer: ArrayLike,
    capacity: ArrayLike,
    *,
    seed: int,
    permutations: int = PERMUTATIONS,
    base: ArrayLike | None = None,
    made: float | None = None,
) -> InterimAnalysis:
    """Compare the arms over the clients given, which are the first exposed ones up to a number from `interim_points`.

    treated, phase: (clients,) bool and phase of each client; offered_client, offered_lawyer: (offers,) indices into
    them and into capacity: (lawyers,) above 0, of all lawyers eligible for an offer. Arms are shuffled inside a phase.
    base: (lawyers,) offers of the last 30 days from before the experiment; made: number of all offers since, by either
    arm or neither. With them an arm is judged as if it had made all of them, on top of base, as in a month that it
    had to itself; without them, by its own offers alone.
    The same arguments give the same analysis. Raises ValueError for an arm without an offer and for bad indices.
    """
    arm, stratum = np.asarray(treated, dtype=bool), np.asarray(phase)
    room = np.asarray(capacity, dtype=np.float64)
    offers = _offers(arm, stratum, offered_client, offered_lawyer, room)
    everything = np.asarray(offers.sum(axis=0), dtype=np.float64)
    of_treatment = np.asarray(offers.T @ arm, dtype=np.float64)
    of_control = everything - of_treatment
    if not (of_treatment.any() and of_control.any()):
        raise ValueError("an arm has no offer yet")
    before = np.zeros(len(room)) if base is None else np.asarray(base, dtype=np.float64)
    total = float(everything.sum()) if made is None else made

    def month(offers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Load of each lawyer, (…, lawyers), had these offers been all that were made."""
        return (before + offers * (total / np.maximum(offers.sum(axis=-1, keepdims=True), 1e-300))) / room

    treatment, control = gini(month(of_treatment)), gini(month(of_control))
    shuffled = np.empty(permutations)
    step = max(1, _CELLS // max(len(room), len(arm)))
    by_lawyer = offers.T.tocsr()
    done = 0
    for arms in _shuffles(arm, stratum, permutations, step, seed):
        drawn = np.asarray(by_lawyer @ arms, dtype=np.float64).T  # (permutations here, lawyers)
        shuffled[done : done + len(drawn)] = _ginis(month(drawn)) - _ginis(month(everything - drawn))
        done += len(drawn)
    further = int((shuffled >= treatment - control - 1e-12).sum())
    return InterimAnalysis(
        len(arm),
        treatment,
        control,
        float(shuffled.mean()),
        (1 + further) / (1 + permutations),
        permutations,
        seed,
    )


def _offers(
    arm: NDArray[np.bool_],
    stratum: NDArray[np.generic],
    offered_client: ArrayLike,
    offered_lawyer: ArrayLike,
    room: NDArray[np.float64],
) -> "csr_array":
    """Who was offered whose case, (clients, lawyers) of ones; what `interim_analysis` raises ValueError for."""
    from scipy.sparse import csr_array

    rows, columns = np.asarray(offered_client, dtype=np.int64), np.asarray(offered_lawyer, dtype=np.int64)
    if not (room > 0).all() or arm.shape != stratum.shape or rows.shape != columns.shape:
        raise ValueError("capacities must be above 0 and columns of one length")
    if len(rows) and (min(rows.min(), columns.min()) < 0 or rows.max() >= len(arm) or columns.max() >= len(room)):
        raise ValueError("an offer names a client or a lawyer that is not given")
    ones = np.ones(len(rows), dtype=np.float32)
    return csr_array((ones, (rows, columns)), shape=(len(arm), len(room)))


def _shuffles(
    arm: NDArray[np.bool_], stratum: NDArray[np.generic], permutations: int, step: int, seed: int
) -> Iterator[NDArray[np.float32]]:
    """The arms shuffled inside each phase, (clients, up to `step`) at a time."""
    draw = np.random.default_rng(seed)
    members = [np.flatnonzero(stratum == value) for value in np.unique(stratum)]
    for start in range(0, permutations, step):
        count = min(step, permutations - start)
        arms = np.empty((len(arm), count), dtype=np.float32)
        for here in members:
            arms[here] = draw.permuted(np.tile(arm[here], (count, 1)), axis=1).T
        yield arms


def _ginis(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`gini` of each row of (permutations, lawyers), all at once."""
    x = np.sort(values, axis=1)
    n = x.shape[1]
    return (2 * np.arange(1, n + 1) - n - 1) @ x.T / (n * np.maximum(x.sum(axis=1), 1e-300))
