"""How much weight load needs: the last weeks' cases matched again in memory, for several λ. Knows the database.

Lawyers, availability and evidence are those of today; a large marketplace is thinned, lawyers and cases by the same
share, which leaves the demand on a lawyer as it was. The replay itself: `replay.py`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

import numpy as np

from litgo_pipelines.matching import candidates
from litgo_pipelines.matching.allocation import Rule
from litgo_pipelines.matching.features import impute
from litgo_pipelines.matching.ranking import Ranker
from litgo_pipelines.matching.replay import WINDOW, Calibration, Cases, Lawyers, calibrate

DAYS = 60  # 30 to fill the ledger, 30 that are measured
MOST_PAIRS = 4_000_000  # about a minute and half a gigabyte
LEAST_CASES = 200
CHUNK = 256


@dataclass(frozen=True)
class Calibrated:
    """`found`: None when there were too few cases to say anything."""

    cases: int
    lawyers: int
    share: float  # of the marketplace that was replayed
    found: Calibration | None


def run(
    cursor: Any, as_of: datetime, rule: Rule, ranker: Ranker, radius_km: float, preset: str,
    step: Callable[[], object] = lambda: None, most_pairs: int = MOST_PAIRS,
) -> Calibrated:  # fmt: skip
    """Replay the 60 days before the instant; `step` is called after each case of each replay."""
    cursor.execute(
        "SELECT id::text, extract(epoch FROM created_at)::float8 FROM cases WHERE created_at > %s AND created_at <= %s "
        "AND area IS NOT NULL AND coords[1] BETWEEN -90 AND 90 AND coords[0] BETWEEN -180 AND 180 "
        "ORDER BY created_at, id",
        (as_of - timedelta(days=DAYS), as_of),
    )
    rows = cursor.fetchall()
    if len(rows) < LEAST_CASES:
        return Calibrated(len(rows), 0, 1.0, None)
    at = np.array([instant for _, instant in rows])
    all_cases = candidates.read_cases(cursor, [case for case, _ in rows], [1] * len(rows), preset)
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
    )
    cases, at, radius = all_cases.take(kept_cases), at[kept_cases], radius[kept_cases]
    joined = as_of.timestamp() - np.where(lawyers.active_share < 1, lawyers.active_share * WINDOW, np.inf)
    data = _pairs(cases, at, lawyers, joined, radius, ranker)
    found = calibrate(
        data, Lawyers(lawyers.capacity, joined, lawyers.cases_30d), as_of.timestamp(), rule, step=step
    )  # fmt: skip
    return Calibrated(len(cases.ids), int(kept_lawyers.sum()), share, found)


def _share(ids: list[str], share: float) -> Any:
    """The same part of the ids every time."""
    return np.array([crc32(i.encode()) < share * 2**32 for i in ids], dtype=bool)


def _pairs(
    cases: candidates.Cases, at: Any, lawyers: candidates.Lawyers, joined: Any, radius: Any, ranker: Ranker
) -> Cases:
    """Eligible pairs of all cases with their relevance; a lawyer who joined later was not there."""
    sizes, who, relevance = [], [], []
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
        filled, _ = impute(pairs.features, pairs.starts[:-1])
        who.append(pairs.lawyer)
        relevance.append(
            ranker.relevance(
                filled, [chunk.preset[k] for k in some], [chunk.complexity[k] for k in some], np.diff(pairs.starts)
            )
        )
    return Cases(
        at,
        np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64),
        np.concatenate([*who, np.empty(0, np.int64)]),
        np.concatenate([*relevance, np.empty(0)]),
    )


def record(cursor: Any, as_of: datetime, done: Calibrated, rule: Rule, ranker: Ranker, run_id: str) -> float | None:
    """Write a version for the instant, once; returns its λ. None, and nothing written, when there were too few cases.

    Where no λ reached the target the one in use is written again, with the replay that says so.
    """
    if done.found is None:
        return None
    evidence = {
        "cases": done.cases,
        "lawyers": done.lawyers,
        "share": done.share,
        "ranker": ranker.version or ranker.kind,
        "reached": done.found.weight is not None,
        "curve": [
            # figures that do not exist are not numbers, which JSON has no word for
            {"lambda": weight, **{n: v for n in ("gini", "coverage", "kept", "kept_p5") if (v := getattr(f, n)) == v}}
            for weight, f in done.found.curve
        ],
    }
    chosen = rule.weight if done.found.weight is None else done.found.weight
    cursor.execute(
        "INSERT INTO litgo.allocation_parameters (as_of, lambda, evidence, run_id) VALUES (%s, %s, %s, %s) "
        "ON CONFLICT (as_of) DO NOTHING",
        (as_of, chosen, json.dumps(evidence), run_id),
    )
    return chosen
