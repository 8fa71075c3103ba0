"""Feature contract: keys, names and ranges of what a ranker sees, in model input order. Pure.

Training, registry, serving and the snapshot read it here. How the values are computed is `matching/features.py`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Feature:
    """`key`: as logged in `case_matches.features` and in snapshots; values lie in [low, high], NaN when missing."""

    key: str
    name: str
    low: float = 0.0
    high: float = 1.0


CONTRACT = (
    Feature("A", "area match"),
    Feature("S", "text similarity"),
    Feature("T", "success rate"),
    Feature("G", "closeness"),
    Feature("Q", "qualification"),
    Feature("U", "urgency capacity"),
    Feature("R", "review score"),
    Feature("C", "soft skills"),
)
FEATURES = tuple(feature.key for feature in CONTRACT)
