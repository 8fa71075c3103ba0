"""Fairness targets, and whether a night met them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    name: str
    column: str
    limit: float
    at_most: bool
    text: str

    def met(self, value: float | None) -> bool:
        """A figure that could not be computed meets nothing."""
        return value is not None and (value < self.limit if self.at_most else value > self.limit)


TARGETS = (
    Target("gini_below_target", "gini", 0.3, True, "Gini of offers per unit of capacity below 0.3"),
    Target("coverage_above_target", "coverage", 0.8, False, "more than 80 % of eligible lawyers got an offer"),
    Target("spread_within_target", "spread_points", 20.0 + 1e-9, True, "utilisation within 20 points in every pool"),
)


def explain(target: Target, row: Mapping[str, Any]) -> str:
    """One sentence for the check: the figure, the target, and what was attainable."""
    value = row[target.column]
    if value is None:
        why = "no pool is large enough" if target.column == "spread_points" else "nobody could have got an offer"
        return f"night {row['night']}: no figure, {why} in the window"
    sentence = f"night {row['night']}: {value:.3g} — target: {target.text}"
    if target.column == "coverage":
        sentence += f"; at most {row['coverage_bound']:.3g} was possible with the cases there were"
    if row["demand_ratio"] is not None and row["demand_ratio"] < 0.05:
        sentence += f"; demand is {row['demand_ratio']:.2%} of capacity, too little to spread evenly"
    return sentence
