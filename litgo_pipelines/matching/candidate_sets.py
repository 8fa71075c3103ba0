"""Candidate sets: who could be chosen for a case, with the features of that moment. Knows the database.

Kept of each matching are the most relevant fifty and whoever was offered it. A replay that takes its features from
here sees what the allocation saw (S among it, which no later day can compute again), instead of today's evidence.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from litgo_pipelines.arrays import Floats, Ints
from litgo_pipelines.database import Cursor
from litgo_pipelines.models.features import BASE

MOST = 50
_AT_ONCE = 1000  # cases per query


class SetDamaged(ValueError):
    """Bytes that are no features of a candidate set."""


@dataclass(frozen=True)
class CandidateSet:
    """features: (lawyers, len(BASE)) in the contract's order, NaN for no evidence and for what was not known then."""

    lawyer_ids: Sequence[str]
    features: Floats


def kept(relevance: Floats, offered: Ints, most: int = MOST) -> Ints:
    """Rows of the `most` most relevant, all of the offered among them, by relevance."""
    order = np.argsort(-relevance, kind="stable")
    is_offered = np.zeros(len(relevance), dtype=bool)
    is_offered[offered] = True
    others = order[~is_offered[order]][: max(most - len(offered), 0)]
    chosen = is_offered.copy()
    chosen[others] = True
    return np.asarray(order[chosen[order]])


def pack(features: Floats, keys: Sequence[str] = BASE) -> bytes:
    """The names of the columns, then the rows in single precision; compressed."""
    return zlib.compress(",".join(keys).encode() + b"\n" + features.astype("<f4").tobytes())


def unpack(content: bytes) -> Floats:
    """(lawyers, len(BASE)); a column that was not known then is NaN. Raises SetDamaged."""
    try:
        names, _, values = zlib.decompress(content).partition(b"\n")
        keys = names.decode().split(",")
        found = np.frombuffer(values, "<f4").reshape(-1, len(keys)).astype(np.float64)
    except (zlib.error, ValueError) as error:
        raise SetDamaged(f"no features of a candidate set: {error}") from error
    features = np.full((len(found), len(BASE)), np.nan)
    for column, key in enumerate(keys):
        if key in BASE:
            features[:, BASE.index(key)] = found[:, column]
    return features


def read(cursor: Cursor, case_ids: Sequence[str]) -> dict[str, CandidateSet]:
    """The set of each case's first round, of those that have one."""
    found = {}
    for first in range(0, len(case_ids), _AT_ONCE):
        cursor.execute(
            "SELECT DISTINCT ON (case_id) case_id::text, lawyer_ids::text[], features FROM litgo.candidate_sets "
            "WHERE case_id = ANY(%s::uuid[]) ORDER BY case_id, round",
            (list(case_ids[first : first + _AT_ONCE]),),
        )
        for case_id, lawyer_ids, features in cursor.fetchall():
            found[case_id] = CandidateSet(lawyer_ids, unpack(bytes(features)))
    return found


def overlay(
    features: Floats,
    lawyer: Ints,
    starts: Ints,
    case_ids: Sequence[str],
    sets: Mapping[str, CandidateSet],
    place: Mapping[str, int],
) -> int:
    """Put logged features in the place of computed ones; how many pairs there were.

    features: (pairs, len(BASE)), changed; lawyer: (pairs,) row numbers; case k has pairs starts[k]:starts[k + 1].
    place: id → row number of the lawyers that are there.
    """
    changed = 0
    for k, case_id in enumerate(case_ids):
        own = lawyer[starts[k] : starts[k + 1]]
        if case_id not in sets or not len(own):
            continue
        logged = sets[case_id]
        order = np.argsort(own)
        wanted = np.array([place.get(one, -1) for one in logged.lawyer_ids], dtype=np.int64)
        rows = order[np.minimum(np.searchsorted(own, wanted, sorter=order), len(order) - 1)]
        there = own[rows] == wanted
        features[starts[k] + rows[there]] = logged.features[: len(wanted)][there]
        changed += int(there.sum())
    return changed
