"""Triage of one case: what the client chose, what a classifier thinks, and the rules become one decision. Pure.

Belongs here: who decides which field and when a person must. How a classifier gets to its opinion is not known here.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from litgo_pipelines.intake import danger, rules, taxonomy
from litgo_pipelines.intake.danger import Danger
from litgo_pipelines.intake.taxonomy import NONE, Subarea
from litgo_pipelines.intake.text import FOR_RULES, clean, words

LEAST_WORDS = 3
ALTERNATIVES = 3
REASONS = ("too_short", "outside_taxonomy", "area_uncertain", "subarea_uncertain", "danger_unsure", "failed")


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
    consents: bool = False  # to an external service seeing the text, masked
    text_bytes: int = 0  # of title and description as the database has them
    text_hash: int | None = None  # of the same


@dataclass(frozen=True)
class Opinion:
    """What a classifier thinks of a text: label → probability (NONE: no subarea fits), and whatever else it says."""

    source: str  # openai, local, rule
    probabilities: Mapping[Subarea, float]
    urgency_h: int | None = None
    complexity: str | None = None


# (text, the subareas that are possible) → opinion; more than one is possible
Classifier = Callable[[str, list[Subarea]], Opinion]
Judge = Callable[[str], Danger]  # what a text says of danger


@dataclass(frozen=True)
class Decision:
    """`sources`: field → client, openai, local, rule, text, class or default. What stays open is None, without one."""

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
    danger: Danger = danger.NOTHING

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


def spelled(case: Case) -> Case:
    """The case with the client's area and subarea as the taxonomy writes them."""
    return replace(
        case,
        area=case.area and taxonomy.spelling(case.area, taxonomy.areas()),
        subarea=case.subarea and taxonomy.spelling(case.subarea, (each.subarea for each in taxonomy.subareas())),
    )


def decide(case: Case, classify: Classifier, threshold: float, judge: Judge = danger.judge) -> Decision:
    """What the client chose stays; area and subarea are a classifier's where its confidence reaches the threshold, and
    a person's below it. The urgency is the shortest that any source names, the client among them; the complexity is the
    client's, else the rules', else the classifier's. Where nobody speaks, the defaults. Signs of danger that are too
    few to be sure of are a person's to look at, and urgent until then."""
    case = spelled(case)
    text = clean(case.title, case.description)
    found = _classified(case, text, classify, threshold)
    openai = found.opinion if found.opinion and found.opinion.source == "openai" else None
    said = judge(text)
    urgency_source, urgency_h = shortest(
        client=case.urgency_h,
        rule=rules.urgency_h(clean(case.title, case.description, longest=FOR_RULES)),
        text=said.hours,
        **{"class": taxonomy.urgency_h(found.area, found.subarea)},
        openai=openai.urgency_h if openai else None,
    )
    complexity_source, complexity = next(
        (source, level)
        for source, level in (
            ("client", case.complexity),
            ("rule", rules.complexity(text)),
            ("openai", openai.complexity if openai else None),
            ("default", rules.COMPLEXITY),
        )
        if level is not None
    )
    return Decision(
        area=found.area,
        subarea=found.subarea,
        urgency_h=urgency_h,
        complexity=complexity,
        sources={**found.sources, "urgency_h": urgency_source, "complexity": complexity_source},
        area_confidence=found.area_confidence,
        subarea_confidence=found.subarea_confidence,
        reason=found.reason or ("danger_unsure" if said.unsure else None),
        alternatives=found.alternatives,
        classified_by=found.opinion.source if found.opinion else None,
        danger=said,
    )


def shortest(**hours: float | None) -> tuple[str, float]:
    """(source, hours) of the most urgent source, the first of several; the default where none names hours above 0."""
    named = {source: value for source, value in hours.items() if value is not None and 0 < value < math.inf}
    source = min(named, key=lambda each: named[each], default="default")
    return source, named.get(source, rules.URGENCY_H)


@dataclass
class _Classified:
    """Area and subarea on their way to a decision."""

    area: str | None
    subarea: str | None
    sources: dict[str, str]
    opinion: Opinion | None = None
    area_confidence: float | None = None
    subarea_confidence: float | None = None
    reason: str | None = None
    alternatives: list[tuple[Subarea, float]] = field(default_factory=list)


def _classified(case: Case, text: str, classify: Classifier, threshold: float) -> _Classified:
    found = _Classified(
        case.area,
        case.subarea,
        {name: "client" for name in ("area", "subarea") if getattr(case, name) is not None},
    )
    if case.area is None or case.subarea is None:
        possible = possible_subareas(case)
        if not possible:  # an area of the client's that we have no subareas of is enough to match by
            found.reason = "outside_taxonomy" if case.area is None else None
        elif len(possible) == 1:
            found.opinion = Opinion("rule", {possible[0]: 1.0})
        elif len(words(text)) < LEAST_WORDS:
            found.reason = "too_short"
        else:
            found.opinion = classify(text, possible)
    if found.opinion:
        _judge(found, case, found.opinion, threshold)
    return found


def _judge(found: _Classified, case: Case, opinion: Opinion, threshold: float) -> None:
    """What of an opinion is sure enough."""
    ranked = sorted(opinion.probabilities.items(), key=lambda item: (-item[1], item[0]))
    found.alternatives = [item for item in ranked if item[0] != NONE][:ALTERNATIVES]
    by_area: dict[str, float] = {}
    for label, p in ranked:
        by_area[label.area] = by_area.get(label.area, 0.0) + p
    best_area, area_share = max(by_area.items(), key=lambda item: item[1])
    best, share = ranked[0]
    if case.area is None:
        found.area_confidence = min(area_share, 1.0)
        if best_area == NONE.area:
            found.reason = "outside_taxonomy"
        elif area_share < threshold:
            found.reason = "area_uncertain"
        else:
            found.area, found.sources["area"] = best_area, opinion.source
    if case.subarea is None and found.reason is None:
        found.subarea_confidence = min(share, 1.0)
        if share < threshold or best.area != found.area:
            found.reason = "subarea_uncertain"
        else:
            found.subarea, found.sources["subarea"] = best.subarea, opinion.source
