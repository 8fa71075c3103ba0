"""One case's triage: what the client chose, what a classifier thinks, and the rules become one decision. Pure.

Belongs here: who decides which field and when a person must. How a classifier gets to its opinion is not known here.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from litgo_pipelines.intake import rules, taxonomy
from litgo_pipelines.intake.taxonomy import NONE, Subarea
from litgo_pipelines.intake.text import clean, words

LEAST_WORDS = 3
ALTERNATIVES = 3
REASONS = ("too_short", "outside_taxonomy", "area_uncertain", "subarea_uncertain", "failed")


@dataclass(frozen=True)
class Case:
    """A pending case as read from the marketplace; None: not chosen yet."""

    case_id: str
    title: str | None
    description: str | None
    area: str | None = None
    subarea: str | None = None
    urgency_h: float | None = None
    complexity: str | None = None
    client_name: str | None = None


@dataclass(frozen=True)
class Opinion:
    """What a classifier thinks of a text: label → probability (NONE: no subarea fits), and whatever else it says."""

    source: str  # openai, local, rule
    probabilities: Mapping[Subarea, float]
    urgency_h: int | None = None
    complexity: str | None = None


# (text, the subareas that are possible) → opinion; more than one is possible
Classifier = Callable[[str, list[Subarea]], Opinion]


@dataclass(frozen=True)
class Decision:
    """`sources`: field → client, openai, local, rule or default. A field that stays open is None and has no source."""

    area: str | None
    subarea: str | None
    urgency_h: float
    complexity: str
    sources: dict[str, str]
    area_confidence: float | None = None  # None: not a classifier's
    subarea_confidence: float | None = None
    reason: str | None = None  # why a person must look
    alternatives: list[tuple[Subarea, float]] = field(default_factory=list)
    classified_by: str | None = None

    @property
    def status(self) -> str:
        return "review" if self.reason else "classified"


def local_opinion(probabilities: Mapping[Subarea, float], possible: Iterable[Subarea]) -> Opinion:
    """The local model's probabilities, given that only `possible` can be (NONE always can where areas are open)."""
    possible = list(possible)
    open_area = len({label.area for label in possible}) > 1
    share = {label: probabilities[label] for label in [*possible, *([NONE] if open_area else [])]}
    total = sum(share.values())
    return Opinion("local", {label: p / total if total else 0.0 for label, p in share.items()})


def possible_subareas(case: Case) -> list[Subarea]:
    """Those that agree with what the client chose; none when the taxonomy does not have the client's choice."""
    return [
        label
        for label in taxonomy.subareas()
        if case.area in (None, label.area) and case.subarea in (None, label.subarea)
    ]


def decide(case: Case, classify: Classifier, threshold: float) -> Decision:
    """What the client chose stays; area and subarea are a classifier's where its confidence reaches the threshold, and
    a person's below it; urgency and complexity are the rules', else the classifier's, else the defaults."""
    text = clean(case.title, case.description)
    sources = {
        name: "client"
        for name in ("area", "subarea", "urgency_h", "complexity")
        if getattr(case, name) is not None
    }  # fmt: skip
    opinion, reason = None, None
    if case.area is None or case.subarea is None:
        possible = possible_subareas(case)
        if not possible:  # an area of the client's that we have no subareas of is enough to match by
            reason = "outside_taxonomy" if case.area is None else None
        elif len(possible) == 1:
            opinion = Opinion("rule", {possible[0]: 1.0})
        elif len(words(text)) < LEAST_WORDS:
            reason = "too_short"
        else:
            opinion = classify(text, possible)
    area, subarea = case.area, case.subarea
    area_confidence = subarea_confidence = None
    alternatives: list[tuple[Subarea, float]] = []
    if opinion:
        ranked = sorted(opinion.probabilities.items(), key=lambda item: (-item[1], item[0]))
        alternatives = [item for item in ranked if item[0] != NONE][:ALTERNATIVES]
        by_area: dict[str, float] = {}
        for label, p in ranked:
            by_area[label.area] = by_area.get(label.area, 0.0) + p
        best_area, area_share = max(by_area.items(), key=lambda item: item[1])
        best, share = ranked[0]
        if case.area is None:
            area_confidence = min(area_share, 1.0)
            if best_area == NONE.area:
                reason = "outside_taxonomy"
            elif area_share < threshold:
                reason = "area_uncertain"
            else:
                area, sources["area"] = best_area, opinion.source
        if case.subarea is None and reason is None:
            subarea_confidence = min(share, 1.0)
            if share < threshold or best.area != area:
                reason = "subarea_uncertain"
            else:
                subarea, sources["subarea"] = best.subarea, opinion.source
    urgency_h = _first(
        sources, "urgency_h", ("client", case.urgency_h), ("rule", rules.urgency_h(text)),
        ("openai", opinion and opinion.urgency_h), ("default", rules.URGENCY_H),
    )  # fmt: skip
    complexity = _first(
        sources, "complexity", ("client", case.complexity), ("rule", rules.complexity(text)),
        ("openai", opinion and opinion.complexity), ("default", rules.COMPLEXITY),
    )  # fmt: skip
    return Decision(
        area, subarea, urgency_h, complexity, sources, area_confidence, subarea_confidence, reason, alternatives,
        opinion.source if opinion else None,
    )  # fmt: skip


def _first(sources: dict[str, str], name: str, *candidates: tuple[str, Any]) -> Any:
    """The first value there is; notes its source."""
    source, value = next((source, value) for source, value in candidates if value is not None)
    sources[name] = source
    return value
