"""Feature contract: what a ranker may see of a case and a lawyer, as data, in model input order. Pure.

Training, registry, serving, snapshot and replay read it here. Values are computed in `matching/features.py` (the
eight), `matching/momentum.py` (what the lawyer did lately) and `within_case` below (ranks). All of it is known when the
offer is made; a missing value is NaN. A model version names the features it was made with and is given those.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Floats

FIRST_DAY = date(2025, 1, 1)  # of the eight
MOMENTUM_DAY = date(2026, 11, 29)  # of what the lawyer did lately, and of the ranks
HALF_LIVES = (7, 30, 90)  # days
WINDOW_DAYS = 720  # older events count nowhere
RANK = "rank_"
RANK_DECIMALS = 4
_NIGHT = "lawyer_momentum, the night before"


@dataclass(frozen=True)
class Feature:
    """One column. `key`: as logged in `case_matches.features` and in snapshots; values lie in [low, high], NaN when
    missing. `since`: rows offered before that day have none. `known`: when its value is settled, before the offer."""

    key: str
    name: str
    meaning: str
    source: str
    known: str = "at matching"
    since: date = FIRST_DAY
    low: float = 0.0
    high: float = 1.0


def _momentum(key: str, name: str, meaning: str, high: float = 1.0) -> Feature:
    return Feature(key, name, meaning, _NIGHT, "the night before", MOMENTUM_DAY, 0.0, high)


EIGHT = (
    Feature("A", "area match", "the lawyer works in the case's area", "lawyers.tags_expertise"),
    Feature("S", "text similarity", "of the case to the lawyer's earlier cases and opinions", "embeddings"),
    Feature("T", "success rate", "cases won in the subarea, else overall, smoothed by Beta(1, 1)", "lawyer_evidence"),
    Feature("G", "closeness", "1 − distance / radius of the case", "cases.coords, lawyers.geo_latlon"),
    Feature("Q", "qualification", "years of practice, degrees in the area, publications", "lawyers.curriculo_json"),
    Feature("U", "urgency capacity", "1 − usual response time / urgency", "offers, cases.urgency_h"),
    Feature("R", "review score", "mean stars, drawn to .5 until there are five reviews", "reviews"),
    Feature("C", "soft skills", "tone of the reviews' comments, .5 without data", "reviews.comment"),
)
MOMENTUM = (
    *(
        _momentum(
            f"accepted_{days}d", f"acceptances, {days} d", f"acceptances per offer in the area, half-life {days} days"
        )
        for days in HALF_LIVES
    ),
    *(
        _momentum(
            f"contracts_{days}d",
            f"contracts, {days} d",
            f"contracts per offer in the area, half-life {days} days",
            100.0,  # contracts may also come without an offer
        )
        for days in HALF_LIVES
    ),
    _momentum("idle_days", "days since", "days since the last acceptance or contract in the area", WINDOW_DAYS),
    _momentum("area_share", "share in area", "share of the lawyer's contracts that are in the area"),
    _momentum("price_level", "price level", "fees against the area's for the same kind of fee; .5 is the area's mean"),
)
PAIR = (
    Feature(
        "repeat_client",
        "known client",
        "1 when client and lawyer had a contract before, else 0",
        "contracts",
        since=MOMENTUM_DAY,
    ),
    Feature(
        "tenure",
        "tenure",
        "time in the marketplace on a logarithmic scale, 1 at ten years",
        "lawyers.created_at",
        since=MOMENTUM_DAY,
    ),
)
RANKED = (*(feature.key for feature in MOMENTUM), "tenure")
RANKS = tuple(
    Feature(
        RANK + f.key,
        f"{f.name}, rank",
        f"«{f.name}» among the case's eligible lawyers, 0 lowest, 1 highest",
        "the eligible lawyers",
        "at matching",
        MOMENTUM_DAY,
    )
    for f in (*MOMENTUM, *PAIR)
    if f.key in RANKED
)

BASE_CONTRACT = (*EIGHT, *MOMENTUM, *PAIR)
CONTRACT = (*BASE_CONTRACT, *RANKS)
FEATURES = tuple(feature.key for feature in EIGHT)  # the mission's eight, which the heuristic ranker weighs
MOMENTUM_KEYS = tuple(feature.key for feature in MOMENTUM)
BASE = tuple(feature.key for feature in BASE_CONTRACT)  # what matching computes per pair, in this order
KEYS = tuple(feature.key for feature in CONTRACT)  # what is logged and may be learned from
BY_KEY = {feature.key: feature for feature in CONTRACT}
_RANKED_COLUMNS = [BASE.index(key) for key in RANKED]


def select(base: Floats, sizes: NDArray[np.int64], names: tuple[str, ...]) -> Floats:
    """The named features of some cases' pairs, shape (pairs, len(names)), from `base`, (pairs, len(BASE)) in its order.

    sizes: pairs of each case, in order. Ranks are computed only where a name asks for them. Raises KeyError naming a
    feature the contract does not have.
    """
    if names == FEATURES:
        return base[:, : len(FEATURES)]
    unknown = [name for name in names if name not in BY_KEY]
    if unknown:
        raise KeyError(f"the contract has no feature {', '.join(unknown)}: this version needs newer code")
    columns: dict[str, Floats] = {}
    for name in names:
        key = name.removeprefix(RANK)
        values = base[:, BASE.index(key)]
        columns[name] = within_case(values, sizes) if name != key else values
    return np.column_stack([columns[name] for name in names]) if names else np.empty((len(base), 0))


def with_ranks(base: Floats, sizes: NDArray[np.int64]) -> Floats:
    """Every feature of the contract, (pairs, len(KEYS)), from `base`, (pairs, len(BASE))."""
    return np.column_stack([base, *(within_case(base[:, column], sizes) for column in _RANKED_COLUMNS)])


def ranks_of(base: Floats, rows: NDArray[np.int64]) -> Floats:
    """The ranks of some rows of one case's pool, (rows, len(RANKS)): those `with_ranks` gives, without ranking all."""
    values = np.ascontiguousarray(base[:, _RANKED_COLUMNS].T)  # a feature of all of them side by side
    values.sort()  # NaN last
    asked = base[rows][:, _RANKED_COLUMNS]
    pairs = list(zip(values, asked.T, strict=True))
    below, upto = (
        np.array([ordered.searchsorted(own, side) for ordered, own in pairs]).reshape(asked.T.shape).T
        for side in ("left", "right")
    )
    return _rank(below, upto - below, (~np.isnan(values)).sum(axis=1)[None, :], np.isnan(asked))


def within_case(values: Floats, sizes: NDArray[np.int64]) -> Floats:
    """Rank of each value among its case's known ones, 0 lowest to 1 highest; equal values share theirs, NaN stays NaN.

    A case with a single known value has nobody to be ranked against: NaN.
    """
    case = np.repeat(np.arange(len(sizes)), sizes)
    ends = np.cumsum(sizes)
    order = np.empty(len(values), np.int64)
    for first, end in zip((ends - sizes).tolist(), ends.tolist(), strict=True):  # NaN last within each case
        order[first:end] = first + np.argsort(values[first:end])
    ordered, cases = values[order], case[order]
    new = np.r_[True, (ordered[1:] != ordered[:-1]) | (cases[1:] != cases[:-1])][: len(values)]
    firsts = np.flatnonzero(new)
    repeats = np.diff(np.r_[firsts, len(values)])
    starts = (ends - sizes)[cases]
    known = np.bincount(case, ~np.isnan(values), minlength=len(sizes))
    result = np.empty(len(values))
    result[order] = _rank(
        np.repeat(firsts, repeats) - starts, np.repeat(repeats, repeats), known[cases], np.isnan(ordered)
    )
    return result


def _rank(
    below: NDArray[np.int64], equal: NDArray[np.int64], known: NDArray[np.int64], missing: NDArray[np.bool_]
) -> Floats:
    rank = np.divide(below + (equal - 1) / 2, known - 1, out=np.full(below.shape, np.nan), where=(known > 1) & ~missing)
    return np.asarray(np.round(rank, RANK_DECIMALS))
