"""Calibration of the weight of load: recent cases replayed in memory for several λ. Knows the database.

Every ranker has a λ of its own. A model that tells lawyers apart better has relevances further apart; beside them one
and the same λ would weigh less, and the better model would spread offers less evenly for no other reason.

Lawyers, availability and evidence are those of today; a large marketplace is thinned, lawyers and cases by the same
share, which leaves the demand on a lawyer as it was. The replay itself: `replay.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Floats
from litgo_pipelines.database import Cursor
from litgo_pipelines.database.values import as_json
from litgo_pipelines.matching import candidate_sets, candidates
from litgo_pipelines.matching.allocation import Rule
from litgo_pipelines.matching.features import impute
from litgo_pipelines.matching.replay import (
    TARGET_GINI,
    WINDOW,
    Figures,
    ReplayCases,
    ReplayLawyers,
    WarmStart,
    calibrate,
    price,
    replay,
)
from litgo_pipelines.models.ranking import Ranker

DAYS = 60  # 30 to fill the ledger, 30 that are measured
MOST_PAIRS = 4_000_000  # about a minute and half a gigabyte
LEAST_CASES = 200
CHUNK = 256

Step = Callable[[], object]


@dataclass(frozen=True)
class Window:
    """The last weeks, ready to be replayed. `cases`: one for each ranker, alike but for the relevance."""

    as_of: datetime
    rankers: Sequence[Ranker]
    cases: Sequence[ReplayCases]
    lawyers: ReplayLawyers
    share: float  # of the marketplace that is replayed
    logged: int = 0  # pairs with the features that were logged when the case was matched

    @property
    def reached(self) -> int:
        """Lawyers who were eligible for a case."""
        return len(np.unique(self.cases[0].lawyer))

    def replay(self, number: int, rule: Rule, step: Step = lambda: None, before: WarmStart | None = None) -> Figures:
        """Of the last 30 days, with one of the rankers and a rule."""
        run = replay(self.cases[number], self.lawyers, price(rule), step=step, before=before)
        return run.figures(self.as_of.timestamp())

    def warm_start(self, number: int, rule: Rule) -> WarmStart:
        """The 30 days before those that are measured, with one of the rankers and a rule."""
        return WarmStart(self.as_of.timestamp() - WINDOW, self.cases[number].relevance, price(rule))


@dataclass(frozen=True)
class Fit:
    """The λ of one ranker. `figures`: of the replay with it; `curve`: every λ that was replayed; `reached`: whether it
    spreads offers as evenly as it should."""

    ranker: Ranker
    weight: float
    figures: Figures
    curve: tuple[tuple[float, Figures], ...]
    reached: bool

    def evidence(self, window: Window) -> dict[str, object]:
        """What is kept with the λ, as plain JSON values."""
        return {
            "cases": len(window.cases[0].at),
            "lawyers": window.reached,
            "share": window.share,
            "logged_pairs": window.logged,
            "ranker": self.ranker.version or self.ranker.kind,
            "reached": self.reached,
            "curve": [
                # figures that do not exist are not numbers, which JSON has no word for
                {
                    "lambda": weight,
                    **{n: v for n in ("gini", "coverage", "kept", "kept_p5") if (v := getattr(f, n)) == v},
                }
                for weight, f in self.curve
            ],
        }


def read_window(
    cursor: Cursor,
    as_of: datetime,
    rankers: Sequence[Ranker],
    radius_km: float,
    preset: str,
    most_pairs: int = MOST_PAIRS,
) -> Window | None:
    """The 60 days before the instant; None when too few cases had an eligible lawyer, or none in the last 30 days."""
    cursor.execute(
        "SELECT id::text, extract(epoch FROM created_at)::float8 FROM cases WHERE created_at > %s AND created_at <= %s "
        "AND area IS NOT NULL AND coords[1] BETWEEN -90 AND 90 AND coords[0] BETWEEN -180 AND 180 "
        "ORDER BY created_at, id",
        (as_of - timedelta(days=DAYS), as_of),
    )
    rows = cursor.fetchall()
    if len(rows) < LEAST_CASES:
        return None
    at = np.array([instant for _, instant in rows])
    all_cases = candidates.read_cases(cursor, [case for case, _ in rows], [1] * len(rows), preset, as_of)
    radius = np.full(len(rows), radius_km)
    lawyers = candidates.read_lawyers(cursor, all_cases, radius, as_of)
    some = np.linspace(0, len(rows) - 1, min(len(rows), 500)).astype(int).tolist()
    mean = sum(len(candidates.eligible(all_cases, lawyers, case, radius_km, None)[0]) for case in some) / len(some)
    share = min(1.0, float(np.sqrt(most_pairs / max(mean * len(rows), 1))))
    kept_lawyers = _share(lawyers.ids, share)
    kept_cases = np.flatnonzero(_share(all_cases.ids, share))
    members = [m[kept_lawyers[m]] for m in lawyers.members]
    lawyers = replace(
        lawyers,
        members=members,
        qualification=[q[kept_lawyers[m]] for q, m in zip(lawyers.qualification, lawyers.members, strict=True)],
        momentum=[values[kept_lawyers[m]] for values, m in zip(lawyers.momentum, lawyers.members, strict=True)],
    )
    cases, at, radius = all_cases.take(kept_cases), at[kept_cases], radius[kept_cases]
    joined = np.nan_to_num(lawyers.joined, nan=-np.inf)
    sets = candidate_sets.read(cursor, cases.ids)
    found, logged = _pairs(cases, at, lawyers, joined, radius, rankers, sets)
    offered = np.diff(found[0].starts) > 0
    if offered.sum() < LEAST_CASES * share or not offered[at > as_of.timestamp() - WINDOW].any():
        return None
    return Window(as_of, rankers, found, ReplayLawyers(lawyers.capacity, joined, lawyers.cases_30d), share, logged)


def fit(
    window: Window,
    number: int,
    rule: Rule,
    target: float = TARGET_GINI,
    otherwise: float = 1.0,
    step: Step = lambda: None,
    before: WarmStart | None = None,
) -> Fit:
    """The smallest λ with a Gini of at most the target, for one of the rankers; else `otherwise`.

    `step` is called after each case of each replay.
    """
    found = calibrate(window.cases[number], window.lawyers, window.as_of.timestamp(), rule, target, step, before)
    curve = dict(found.curve)
    weight = otherwise if found.weight is None else found.weight
    if weight not in curve:
        curve[weight] = window.replay(number, replace(rule, weight=weight), step, before)
    ascending = tuple(sorted(curve.items(), key=lambda point: point[0]))
    return Fit(window.rankers[number], weight, curve[weight], ascending, found.weight is not None)


def fit_all(window: Window, rules: Sequence[Rule], step: Step = lambda: None) -> list[Fit]:
    """Of each ranker, `rules` being those they have now. The first one serves: where nothing reaches the target its λ
    stays. The others shall spread offers as evenly in the 30 days after they take over from it."""
    first = fit(window, 0, rules[0], otherwise=rules[0].weight, step=step)
    before = window.warm_start(0, replace(rules[0], weight=first.weight))
    others = (fit(window, k, rule, first.figures.gini, step=step, before=before) for k, rule in enumerate(rules) if k)
    return [first, *others]


def _share(ids: list[str], share: float) -> NDArray[np.bool_]:
    """The same part of the ids every time."""
    return np.array([crc32(i.encode()) < share * 2**32 for i in ids], dtype=bool)


def _pairs(
    cases: candidates.Cases,
    at: Floats,
    lawyers: candidates.Lawyers,
    joined: Floats,
    radius: Floats,
    rankers: Sequence[Ranker],
    sets: Mapping[str, candidate_sets.CandidateSet],
) -> tuple[list[ReplayCases], int]:
    """(eligible pairs of all cases with their relevance, by each ranker; how many have features as they were logged).

    A lawyer who joined later was not there.
    """
    place = {one: number for number, one in enumerate(lawyers.ids)} if sets else {}
    logged = 0
    sizes, who = [], []
    relevance: list[list[Floats]] = [[] for _ in rankers]
    for first in range(0, len(cases.ids), CHUNK):
        rows = np.arange(first, min(first + CHUNK, len(cases.ids)))
        found = []
        for case in rows.tolist():
            positions, km = candidates.eligible(cases, lawyers, case, float(radius[case]), None)
            there = joined[lawyers.members[cases.area[case]][positions]] <= at[case]
            found.append((positions[there], km[there]))
        chunk = cases.take(rows)
        counts = np.array([len(positions) for positions, _ in found])
        sizes.append(counts)
        some = np.flatnonzero(counts)
        if not len(some):
            continue
        pairs = candidates.pairs(chunk, lawyers, some.tolist(), candidates.Reach(radius[rows], found))
        ids = [chunk.ids[k] for k in some]
        logged += candidate_sets.overlay(pairs.features, pairs.lawyer, pairs.starts, ids, sets, place)
        filled, _ = impute(pairs.features, pairs.starts[:-1])
        who.append(pairs.lawyer)
        presets, complexity = ([column[k] for k in some] for column in (chunk.preset, chunk.complexity))
        for ranker, scores in zip(rankers, relevance, strict=True):
            scores.append(ranker.relevance(filled, presets, complexity, np.diff(pairs.starts)))
    starts = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
    lawyer = np.concatenate([*who, np.empty(0, np.int64)])
    return [ReplayCases(at, starts, lawyer, np.concatenate([*scores, np.empty(0)])) for scores in relevance], logged


def record_weight(
    cursor: Cursor, as_of: datetime, version: str | None, weight: float, evidence: Mapping[str, object], run_id: str
) -> None:
    """Write a ranker's λ for the instant, once."""
    cursor.execute(
        "INSERT INTO litgo.allocation_parameters (as_of, model_version, lambda, evidence, run_id) "
        "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (as_of, model_version) DO NOTHING",
        (as_of, version, weight, as_json(evidence), run_id),
    )
