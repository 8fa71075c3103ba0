"""Explanation of a case's offers, in words and numbers, from what was written when it was matched."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Floats
from litgo_pipelines.database import Cursor, sql
from litgo_pipelines.matching.allocation import Choice
from litgo_pipelines.matching.features import COUNTRY_KM
from litgo_pipelines.matching.statements import PACKAGE
from litgo_pipelines.models.features import BASE, BY_KEY, EIGHT, FEATURES, KEYS
from litgo_pipelines.observability.tables import markdown_table


class NotMatched(LookupError):
    """There is no matching to explain."""


class Entry(TypedDict):
    """One considered lawyer in `matchings.considered`. features: by key of the contract, None for no evidence."""

    lawyer_id: str
    offered: bool
    relevance: float
    rank_by_relevance: int
    equity_term: float
    score: float
    load: float
    features: dict[str, float | None]
    imputed: list[str]
    propensity: NotRequired[float]  # of the offered, as by_chance
    by_chance: NotRequired[bool]
    nearest: NotRequired[bool]
    first: NotRequired[bool]
    over_day_limit: NotRequired[bool]
    displaced: NotRequired[bool]
    offered_at_load: NotRequired[float | None]


@dataclass(frozen=True)
class Explained:
    """One matching. `considered`: the offered as `considered` wrote it."""

    case_id: str
    round: int
    matched_at: datetime
    candidates: int
    radius_km: float | None
    weight: float  # λ used
    batch_weight: float  # λ of the batch's rule
    pool_load: float
    ranker: str
    model_version: str | None
    weights_used: dict[str, float]
    preset: str | None
    considered: list[Entry]


def considered(
    *,
    lawyer_ids: Sequence[str],
    rows: Sequence[int],
    choice: Choice,
    relevance: Floats,
    load: Floats,
    equity_terms: Floats,
    features: Floats,
    imputed: NDArray[np.bool_],
    propensity: Floats,
    by_chance: NDArray[np.bool_],
    nearest: NDArray[np.int64],
    near: NDArray[np.bool_],
    free: NDArray[np.bool_],
    offered_at_load: Callable[[int], float | None],
) -> list[Entry]:
    """What `matchings.considered` says of the offered lawyers, in the order shown, and of the next best.

    rows: the offered, then the next, as indices into the pool's arrays (relevance, load, …); lawyer_ids: of these
    rows; features (rows, len(KEYS)), imputed: of these rows; propensity, by_chance: of the offered; nearest: who is
    offered it before the others, into the pool's arrays; near, free: of the pool, who was eligible before the radius
    grew, and who is not over the limit per day.
    offered_at_load: at which load a lawyer would have been offered it.
    """
    entries = []
    known = features.astype(object)
    known[~np.isfinite(features)] = None
    values = known.tolist()
    ranks = 1 + (relevance > relevance[list(rows)][:, None]).sum(axis=1)
    for place, (i, lawyer_id) in enumerate(zip(rows, lawyer_ids, strict=True)):
        is_offered = place < len(propensity)
        entry: Entry = {
            "lawyer_id": lawyer_id,
            "offered": is_offered,
            "relevance": round(float(relevance[i]), 4),
            "rank_by_relevance": int(ranks[place]),
            "equity_term": round(float(equity_terms[i]), 4),
            "score": round(float(relevance[i] + choice.weight * equity_terms[i]), 4),
            "load": round(float(load[i]), 4),
            "features": dict(zip(KEYS, values[place], strict=True)),
            "imputed": [key for key, flag in zip(BASE, imputed[place].tolist(), strict=True) if flag],
        }
        if is_offered:
            entry["propensity"] = round(float(propensity[place]), 6)
            entry["by_chance"] = bool(by_chance[place])
            if i in nearest and near[i]:
                entry["nearest"] = True
            elif i in nearest:
                entry["first"] = True
        elif not free[i] and free.any():
            entry["over_day_limit"] = True
            entry["offered_at_load"] = None
        elif i in choice.chosen:
            entry["displaced"] = True  # by chance
        else:
            entry["offered_at_load"] = offered_at_load(i)
        entries.append(entry)
    return entries


def read_matchings(cursor: Cursor, case_id: str) -> list[Explained]:
    """Every round of a case, oldest first. Raises NotMatched with what is known of the case instead."""
    cursor.execute(
        sql(PACKAGE, "matchings.sql"),
        (case_id,),
    )
    rows = cursor.fetchall()
    if rows:
        return [Explained(*row) for row in rows]
    cursor.execute(
        sql(PACKAGE, "not_matched.sql"),
        (case_id,),
    )
    found = cursor.fetchone()
    if found is None:
        raise NotMatched(f"there is no case {case_id}")
    status, area, reason, attempts, retry_at, since, next_look_at, original = found
    if original:
        raise NotMatched(f"case {case_id} repeats case {original}, which is matched in its place")
    if reason:
        raise NotMatched(
            f"case {case_id} could not be matched ({attempts} tries): {reason} — it is tried again "
            f"{retry_at:%Y-%m-%d %H:%M %Z}, with `litgo retry {case_id}` at once"
        )
    if since:
        raise NotMatched(
            f"case {case_id} waits since {since:%Y-%m-%d %H:%M %Z}: no eligible lawyer for {area!r} anywhere — looked "
            "at again when that changes" + (f", at the latest {next_look_at:%Y-%m-%d %H:%M %Z}" if next_look_at else "")
        )
    if area is None:
        raise NotMatched(f"case {case_id} has no area yet: triage has not classified it (see `litgo triagem fila`)")
    raise NotMatched(f"case {case_id} ({status}) was not matched by these pipelines")


@dataclass(frozen=True)
class Parts:
    """What explains a version's scores. names: the features it was made with; of(features (n, len(names))) → what each
    adds to the score, of the same shape."""

    names: tuple[str, ...]
    of: Callable[[Floats], Floats]


def contributions(e: Explained, model_parts: Parts | None = None) -> list[dict[str, float]]:
    """What each feature adds, for each of the considered; empty for a model whose `model_parts` are not given, and for
    weights that the marketplace does not keep.

    The heuristic's sum to the relevance. A model's (SHAP values of trees, Lundberg et al. 2018; terms of a linear
    score) sum, with a constant, to the log-odds of the relevance. A feature not logged yet counts as missing.
    """
    if e.ranker == "model":
        if model_parts is None:
            return []
        names = model_parts.names
        values = [[entry["features"].get(key) for key in names] for entry in e.considered]
        parts = model_parts.of(np.array(values, dtype=float).reshape(len(values), len(names)))
        return [dict(zip(names, row, strict=True)) for row in parts.tolist()]
    if not e.weights_used:
        return []
    found = []
    for entry in e.considered:
        known = {key: value for key in FEATURES if (value := entry["features"].get(key)) is not None}
        total = sum(e.weights_used[key] for key in known)
        found.append({key: e.weights_used[key] * value / total for key, value in known.items()} if total else {})
    return found


def sentences(e: Explained) -> list[str]:
    """The matching in a few lines."""
    ranker = (
        f"model version {e.model_version}"
        if e.ranker == "model"
        else f"heuristic ranker ({e.preset or 'preset not kept'})"
    )
    placed = any(entry["features"]["G"] is not None and "G" not in entry["imputed"] for entry in e.considered)
    reach = f"within {e.radius_km:g} km" if e.radius_km is not None else "anywhere"
    if placed:
        reach += f" (closeness falls to 0 at {e.radius_km or COUNTRY_KM:g} km)"
    lines = [
        f"Case {e.case_id}, round {e.round}, matched {e.matched_at:%Y-%m-%d %H:%M:%S %Z}",
        f"{e.candidates} eligible lawyers {reach}; ranked by {ranker}; mean load of the pool {e.pool_load:.3f}",
    ]
    if e.weight < e.batch_weight:
        lines.append(
            f"lambda {e.weight:.2f} instead of {e.batch_weight:.2f}: with more weight on load the five offered would "
            "have kept too little relevance"
        )
    else:
        lines.append(f"lambda {e.weight:.2f}")
    return lines


HEADER = (
    "lawyer",
    "offered",
    "relevance",
    "rank by it",
    "equity term",
    "score",
    "load / pool",
    "note",
    *(feature.name for feature in EIGHT),
    "others that add most",
)
MOST_OTHERS = 4  # features beyond the eight that are shown per lawyer: those that add most


def table(e: Explained, parts: Sequence[dict[str, float]]) -> list[Sequence[str]]:
    """Rows under HEADER; a feature with what it adds, where `parts` has it; ° marks imputed."""
    filled = parts or [{}] * len(e.considered)
    return [_row(entry, added) for entry, added in zip(e.considered, filled, strict=True)]


def _row(entry: Entry, added: dict[str, float]) -> Sequence[str]:
    if entry["offered"]:
        note = f"by chance, propensity {entry['propensity']:.4f}" if entry["by_chance"] else ""
        if entry.get("nearest"):
            note = "offered first: within the radius before"
        if entry.get("first"):
            note = "offered first: the others were offered today what their capacity allows"
    elif "over_day_limit" in entry:
        note = "not today: offered what capacity allows"
    elif "displaced" in entry:
        note = "gave way to chance"
    elif (load := entry["offered_at_load"]) is None:
        note = "at no load, with the lambdas tried"
    else:
        note = f"offered at load ≤ {load:.3f}"
    values = []
    for key in FEATURES:
        value = entry["features"][key]
        text = "–" if value is None else f"{value:.2f}" + ("°" if key in entry["imputed"] else "")
        values.append(f"{text} ({added[key]:+.3f})" if key in added else text)
    return (
        entry["lawyer_id"],
        "yes" if entry["offered"] else "",
        f"{entry['relevance']:.3f}",
        str(entry["rank_by_relevance"]),
        f"{entry['equity_term']:+.3f}",
        f"{entry['score']:.3f}",
        f"{entry['load']:.3f}",
        note,
        *values,
        _others(entry, added),
    )


def _others(entry: Entry, added: dict[str, float]) -> str:
    """The features beyond the eight that add most to the score."""
    known = [key for key in added if key not in FEATURES and entry["features"].get(key) is not None and added[key]]
    most = sorted(known, key=lambda key: -abs(added[key]))[:MOST_OTHERS]
    return "; ".join(f"{BY_KEY[key].name} {entry['features'][key]:.2f} ({added[key]:+.3f})" for key in most)


def legend(e: Explained, parts: Sequence[dict[str, float]]) -> str:
    if not parts and e.ranker != "model":
        added = "what each feature adds is not known: the marketplace keeps no weights (case_matches.weights_used)"
    elif not parts:
        added = "what each feature adds needs the model's files, which cannot be had: is MLflow up?"
    else:
        added = "in brackets what a feature adds to the " + ("log-odds of the " * (e.ranker == "model")) + "relevance"
    return f"° imputed: the pool's mean, for want of evidence; {added}"


def markdown(e: Explained, parts: Sequence[dict[str, float]]) -> str:
    """For asset metadata."""
    shown = markdown_table(HEADER, table(e, parts))
    return "  \n".join(sentences(e)) + f"\n\n{shown}\n\n{legend(e, parts)}"


def text(e: Explained, parts: Sequence[dict[str, float]]) -> str:
    """For a terminal: a column as wide as its widest value."""
    rows = [HEADER, *table(e, parts)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(HEADER))]
    lines = ["  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*sentences(e), "", *lines, "", legend(e, parts)])
