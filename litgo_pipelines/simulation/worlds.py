"""Kinds of worlds: what decides there who says yes, so that what the pipelines learn can be held against it. Pure."""

from dataclasses import dataclass

from litgo_pipelines.simulation.truth import NOTHING, TASTE, Taste


@dataclass(frozen=True)
class Kind:
    """taste: of lawyers; blind: nothing about anybody matters, to anybody; turns_to: their taste after `turns_after`
    days of living on (`live.Change`)."""

    about: str
    taste: Taste = TASTE
    blind: bool = False
    turns_to: Taste | None = None
    turns_after: int = 20


USUAL = "usual"
KINDS: dict[str, Kind] = {
    USUAL: Kind("nearness, speed and qualification decide, as in the demo"),
    "recency": Kind(
        "lawyers look for work for some weeks and then do not: what somebody accepted lately says most",
        Taste(base=-2.5, readiness=0.2, nearness=0.5, decorated=-0.5, mood=2.5),
    ),
    "noise": Kind("chance alone decides: there is nothing to learn", NOTHING, blind=True),
    "changing": Kind(
        "near lawyers say yes until, after 20 days, the slow do and nearness no longer matters",
        Taste(base=-4.8, nearness=4.0, decorated=-4.0),
        turns_to=Taste(base=-3.6, slowness=2.5, nearness=0, decorated=0),
    ),
}
