"""Momentum: what a lawyer did lately in an area, from events strictly before an instant. Pure: numpy only.

One implementation for the night's table (`lawyer_momentum`), which matching reads and logs, and for replays. Momentum
is acceptances or contracts *per offer*: the allocator makes the offers, so that counts of offers would feed themselves.
Instants are whole seconds since the epoch; an event of the instant's own second is not before it.
"""

from dataclasses import dataclass

import numpy as np

from litgo_pipelines.arrays import Floats, Ints
from litgo_pipelines.models.features import HALF_LIVES, MOMENTUM_KEYS, WINDOW_DAYS

DAY = 86_400
WINDOW = WINDOW_DAYS * DAY
PRIOR_OFFERS = 10.0  # offers without an answer that everybody starts with: one lucky answer is no habit
DECIMALS = 6
MOST_CONTRACTS = 100.0  # per offer


@dataclass(frozen=True)
class Events:
    """Events as columns: codes of lawyer and area (-1: none known), and when, in whole seconds."""

    lawyer: Ints
    area: Ints
    at: Ints

    def of_area(self) -> "Events":
        """Those whose area is known."""
        known = self.area >= 0
        return Events(self.lawyer[known], self.area[known], self.at[known])


@dataclass(frozen=True)
class ContractEvents(Events):
    """Contracts. fee: natural logarithm of the amount, NaN without one; kind: code of what the amount means."""

    fee: Floats
    kind: Ints


class EventHistory:
    """Events by key, to be asked what lies in [instant − window, instant)."""

    def __init__(self, key: Ints, at: Ints, values: Floats | None = None) -> None:
        order = np.lexsort((at, key))
        self._key, self._at = key[order], at[order]
        self._index = _packed(self._key, self._at)
        ordered = np.ones(len(order)) if values is None else values[order]
        self._totals = np.concatenate([[0.0], np.cumsum(ordered)])
        self._decayed: dict[int, Floats] = {}

    def _before(self, key: Ints, at: Ints) -> Ints:
        return np.searchsorted(self._index, _packed(key, at), side="left")

    def count(self, key: Ints, at: Ints) -> Ints:
        return self._before(key, at) - self._before(key, at - WINDOW)

    def total(self, key: Ints, at: Ints) -> Floats:
        """Sum of the values."""
        return np.asarray(self._totals[self._before(key, at)] - self._totals[self._before(key, at - WINDOW)])

    def since(self, key: Ints, at: Ints) -> Floats:
        """Days since the last event; NaN without one."""
        last = self._before(key, at) - 1
        found = self._at[np.maximum(last, 0)] if len(self._at) else np.zeros(len(key), np.int64)
        return np.where(self.count(key, at) > 0, (at - found) / DAY, np.nan)

    def decayed(self, key: Ints, at: Ints, half_life_days: int) -> Floats:
        """Events weighed by 2^(−age / half-life)."""
        if not len(self._at):
            return np.zeros(len(key))
        if half_life_days not in self._decayed:
            self._decayed[half_life_days] = self._sums(half_life_days)
        sums, half_life = self._decayed[half_life_days], half_life_days * DAY
        result = np.zeros(len(key))
        for sign, shift in ((1.0, 0), (-1.0, WINDOW)):
            last = self._before(key, at - shift) - 1
            there = (last >= 0) & (self._key[np.maximum(last, 0)] == key)
            age = at - self._at[np.maximum(last, 0)]
            result += np.where(there, sign * sums[np.maximum(last, 0)] * np.exp2(-age / half_life), 0.0)
        # nothing left in the window is nothing, not a rounding error
        return np.where(self.count(key, at) > 0, np.maximum(result, 0.0), 0.0)

    def _sums(self, half_life_days: int) -> Floats:
        """At each event: itself and those of its key before it, decayed to its instant.

        By place in the key: all first events, then all second ones. Cumulative sums of growing weights would lose the
        old ones to rounding.
        """
        first = np.r_[True, self._key[1:] != self._key[:-1]]
        starts = np.flatnonzero(first)
        place = np.arange(len(self._key)) - np.repeat(starts, np.diff(np.r_[starts, len(self._key)]))
        sums = np.ones(len(self._key))
        fade = np.exp2(-np.diff(self._at, prepend=self._at[:1]).clip(min=0) / (half_life_days * DAY))
        by_place = np.argsort(place, kind="stable")
        for rows in np.split(by_place, np.cumsum(np.bincount(place)))[1:-1]:
            sums[rows] += sums[rows - 1] * fade[rows]
        return sums


def _packed(key: Ints, at: Ints) -> Ints:
    return (key.astype(np.int64) << 33) | at.clip(min=0)


class Momentum:
    """A marketplace's events, to be asked for any lawyer, area and instant."""

    def __init__(self, offered: Events, accepted: Events, signed: ContractEvents, areas: int) -> None:
        """areas: number of area codes."""
        self._areas = areas + 1
        offered, accepted, contracts = offered.of_area(), accepted.of_area(), signed.of_area()
        self._offered = EventHistory(self._pair(offered.lawyer, offered.area), offered.at)
        self._accepted = EventHistory(self._pair(accepted.lawyer, accepted.area), accepted.at)
        self._signed = EventHistory(self._pair(contracts.lawyer, contracts.area), contracts.at)
        self._all_signed = EventHistory(signed.lawyer, signed.at)
        self._kinds = range(int(signed.kind.max(initial=-1)) + 1)
        self._fees = {}
        for kind in self._kinds:
            some = (signed.kind == kind) & np.isfinite(signed.fee) & (signed.area >= 0)
            own, area = self._pair(signed.lawyer[some], signed.area[some]), signed.area[some]
            at, fee = signed.at[some], signed.fee[some]
            self._fees[kind] = (EventHistory(own, at, fee), EventHistory(area, at, fee))

    def _pair(self, lawyer: Ints, area: Ints) -> Ints:
        return lawyer.astype(np.int64) * self._areas + area

    def features(self, lawyer: Ints, area: Ints, at: Ints) -> Floats:
        """MOMENTUM_KEYS of each row, shape (rows, len(MOMENTUM_KEYS)); area: known codes only. NaN: nothing is known.

        A lawyer without an offer in the area has no rate of acceptance; without any event, no days since one.
        """
        pair = self._pair(lawyer, area)
        columns: dict[str, Floats] = {}
        was_offered, had_work = self._offered.count(pair, at) > 0, self._signed.count(pair, at) > 0
        for days in HALF_LIVES:
            offers = self._offered.decayed(pair, at, days) + PRIOR_OFFERS
            accepted = self._accepted.decayed(pair, at, days) / offers
            columns[f"accepted_{days}d"] = np.where(was_offered, np.minimum(accepted, 1.0), np.nan)
            signed = self._signed.decayed(pair, at, days) / offers
            columns[f"contracts_{days}d"] = np.where(was_offered | had_work, np.minimum(signed, MOST_CONTRACTS), np.nan)
        columns["idle_days"] = np.fmin(self._accepted.since(pair, at), self._signed.since(pair, at))
        everywhere = self._all_signed.count(lawyer, at)
        columns["area_share"] = np.divide(
            self._signed.count(pair, at), everywhere, out=np.full(len(pair), np.nan), where=everywhere > 0
        )
        columns["price_level"] = self._price_level(pair, area, at)
        values: Floats = np.column_stack([columns[key] for key in MOMENTUM_KEYS])
        return np.asarray(np.round(values, DECIMALS), dtype=np.float64)

    def _price_level(self, pair: Ints, area: Ints, at: Ints) -> Floats:
        """Logistic function of the mean of ln(fee) − the area's mean of ln(fee) for the same kind of fee."""
        above, fees = np.zeros(len(pair)), np.zeros(len(pair))
        for own, everybody in self._fees.values():
            count, all_count = own.count(pair, at), everybody.count(area, at)
            mean = np.divide(everybody.total(area, at), all_count, out=np.zeros(len(pair)), where=all_count > 0)
            above += own.total(pair, at) - count * mean
            fees += count
        level = np.divide(above, fees, out=np.full(len(pair), np.nan), where=fees > 0)
        return np.asarray(0.5 * (1 + np.tanh(level / 2)))


def tenure(days: Floats) -> Floats:
    """Time in the marketplace: ln(1 + days) / ln(1 + ten years), NaN where it is unknown."""
    scaled: Floats = np.log1p(np.clip(days, 0, 3652.5)) / np.log1p(3652.5)
    return np.asarray(np.round(scaled, DECIMALS), dtype=np.float64)
