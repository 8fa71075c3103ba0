"""Fairness targets, and whether a night met them. Pure."""

from typing import Literal, NamedTuple, TypedDict


class Fairness(TypedDict):
    """Figures of one window; None where there is too little to compute them from."""

    gini: float | None
    coverage: float | None
    coverage_bound: float | None
    spread_points: float | None  # of the worst pool
    demand_ratio: float | None


class Target(NamedTuple):
    name: str
    column: Literal["gini", "coverage", "spread_points"]
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


def explain(target: Target, night: object, row: Fairness) -> str:
    """One sentence for the check: the figure, the target, and what was attainable."""
    value, demand, bound = row[target.column], row["demand_ratio"], row["coverage_bound"]
    if value is None:
        why = "no pool is large enough" if target.column == "spread_points" else "nobody could have got an offer"
        return f"night {night}: no figure, {why} in the window"
    sentence = f"night {night}: {value:.3g} — target: {target.text}"
    if target.column == "coverage" and bound is not None:
        sentence += f"; at most {bound:.3g} was possible with the cases there were"
    if demand is not None and demand < 0.05:
        sentence += f"; demand is {demand:.2%} of capacity, too little to spread evenly"
    return sentence
