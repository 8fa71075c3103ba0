"""Ranking metrics per query, and confidence intervals for their means. Pure: numpy only.

A query is a case, its documents are the lawyers offered; rows of one query stand together, and `groups` holds the
number of rows of each query in row order. Cross-validation, gate, MLflow and the pages take their figures from here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

KS = (1, 3, 5, 10)
SHORT, LONG = 5, 10  # ranks that the headline looks at


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval; all NaN when there was nothing to average."""

    mean: float
    low: float
    high: float


def group_starts(groups: ArrayLike, rows: int) -> NDArray[np.int64]:
    """First row of each query. Raises ValueError unless the sizes are positive and add up to `rows`."""
    sizes = np.asarray(groups, dtype=np.int64)
    if (sizes < 1).any() or sizes.sum() != rows:
        raise ValueError(f"group sizes must be positive and sum to {rows} rows, got a sum of {sizes.sum()}")
    return np.cumsum(sizes) - sizes


def headline_k(groups: ArrayLike) -> int:
    """Ranks that the headline NDCG looks at: 5 where most cases were offered to at most five lawyers, else 10.

    With five rows in a case, NDCG@10 is NDCG@5 under another name.
    """
    sizes = np.asarray(groups)
    return SHORT if not len(sizes) or np.median(sizes) <= SHORT else LONG


@dataclass(frozen=True)
class Judged:
    """How many cases can tell rankers apart, and why the others cannot."""

    cases: int
    scored: int
    one_lawyer: int
    equal_labels: int

    @property
    def skipped(self) -> int:
        return self.cases - self.scored


def judged(labels: ArrayLike, groups: ArrayLike) -> Judged:
    """Counts of the cases that `ndcg` scores and of those it leaves out."""
    told = tells_apart(labels, groups)
    single = int((np.asarray(groups) == 1).sum())
    return Judged(len(told), int(told.sum()), single, len(told) - int(told.sum()) - single)


def tells_apart(labels: ArrayLike, groups: ArrayLike) -> NDArray[np.bool_]:
    """Whether a case holds two different labels, shape (queries,): any order of the others is as good as any other."""
    labels = np.asarray(labels)
    starts = group_starts(groups, len(labels))
    if not len(starts):
        return np.zeros(0, dtype=bool)
    differ: NDArray[np.bool_] = np.maximum.reduceat(labels, starts) > np.minimum.reduceat(labels, starts)
    return differ


def ndcg(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike, ks: tuple[int, ...] = KS) -> NDArray[np.float64]:
    """NDCG@k of each query, shape (queries, len(ks)), with gain 2^label - 1 and discount 1 / log2(rank + 1).

    labels: (rows,) integers >= 0; scores: (rows,) finite; groups: (queries,) sizes in row order. Equal scores share the
    mean gain of their places (McSherry and Najork 2008), so that a constant score gets what a random order gets,
    whatever the order of the rows. A query with one document or one label is ordered as well by any score: its row is
    NaN, so that callers skip and count it (`judged`). The formula is that of Burges et al. 2005 and of LightGBM.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ValueError(f"labels and scores must be of one length, got {labels.shape} and {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite: a NaN has no rank")
    starts = group_starts(groups, len(labels))
    if not len(starts):
        return np.empty((0, len(ks)))
    query = np.repeat(np.arange(len(starts)), np.asarray(groups))
    rank = np.arange(len(labels)) - starts[query]
    discount = 1.0 / np.log2(rank + 2.0)
    gain = np.exp2(labels.astype(np.float64)) - 1.0
    order = np.lexsort((-scores, query))
    by_score = _shared(gain[order], scores[order], query) * discount
    ideal = gain[np.lexsort((-gain, query))] * discount
    values = np.full((len(starts), len(ks)), np.nan)
    told = tells_apart(labels, groups)
    for column, k in enumerate(ks):
        best = np.add.reduceat(np.where(rank < k, ideal, 0.0), starts)
        reached = np.add.reduceat(np.where(rank < k, by_score, 0.0), starts)
        np.divide(reached, best, out=values[:, column], where=told)
    return values


def _shared(gain: NDArray[np.float64], scores: NDArray[np.float64], query: NDArray[np.int64]) -> NDArray[np.float64]:
    """Gains in the order of the scores, each replaced by the mean of those with its score in its query."""
    new = np.r_[True, (scores[1:] != scores[:-1]) | (query[1:] != query[:-1])]
    if new.all():
        return gain
    firsts = np.flatnonzero(new)
    sizes = np.diff(np.r_[firsts, len(gain)])
    return np.repeat(np.add.reduceat(gain, firsts) / sizes, sizes)


def bootstrap(values: ArrayLike, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0) -> list[Interval]:
    """Percentile interval of each column's mean over queries; values (queries, columns), rows with a NaN skipped.

    Queries are drawn with replacement, whole rows, so that columns keep their dependence (Efron 1979).
    """
    table = np.atleast_2d(np.asarray(values, dtype=np.float64).T).T
    table = table[np.isfinite(table).all(axis=1)]
    count = len(table)
    if not count:
        return [Interval(np.nan, np.nan, np.nan)] * table.shape[1]
    draw = np.random.default_rng(seed)
    means = np.empty((resamples, table.shape[1]))
    for resample in range(resamples):  # one at a time: (resamples, queries) would not fit in memory for large sets
        means[resample] = np.bincount(draw.integers(0, count, count), minlength=count) @ table / count
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return [Interval(*map(float, row)) for row in zip(table.mean(axis=0), low, high, strict=True)]


def paired_difference(
    candidate: ArrayLike, baseline: ArrayLike, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Interval:
    """Interval of the mean of candidate - baseline, both (queries,) for the same queries in the same order.

    Pairing removes what makes a query easy or hard for both. Queries that are NaN in either are skipped.
    """
    candidate, baseline = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if candidate.shape != baseline.shape:
        raise ValueError(f"not the same queries: {candidate.shape} against {baseline.shape}")
    return bootstrap(candidate - baseline, confidence=confidence, resamples=resamples, seed=seed)[0]
