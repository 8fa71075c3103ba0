"""One-line rules: what a ranker has to beat to be worth its trouble, and what serves where none does. Pure."""

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Floats
from litgo_pipelines.models.learners import Rows
from litgo_pipelines.models.scorer import Rule, Scorer

RULES = {
    "recent acceptances": "accepted_30d",
    "recent contracts": "contracts_30d",
    "rating": "R",
    "nearest": "G",
}
AT_RANDOM = "at random"


def fit(key: str, rows: Rows) -> Rule:
    """The rule on one scale with other rankers: center 0 and spread 1 on the rows."""
    values = rows.columns((key,)).features[:, 0]
    known = values[~np.isnan(values)]
    lowest = float(known.min()) if len(known) else 0.0
    filled = np.where(np.isnan(values), lowest, values)
    if not len(filled):
        return Rule(key)
    return Rule(key, float(filled.mean()), float(filled.std()) or 1.0, lowest)


def rivals(rows: Rows) -> dict[str, Floats]:
    """Name → scores of the rows by each rule that has something to go by, and by chance (all alike)."""
    found: dict[str, Floats] = {}
    for name, key in RULES.items():
        column = rows.columns((key,)).features
        if not np.isnan(column).all():
            found[name] = fit(key, rows).scores(column)
    return {**found, AT_RANDOM: np.zeros(len(rows.labels))}


class Ruled:
    """A rule in the field of learners."""

    grows = False

    def __init__(self, name: str, rows: Rows) -> None:
        self._column = [rows.names.index(RULES[name])]
        self._rule = fit(RULES[name], rows)

    def advance(self, rounds: int) -> None:
        """Nothing: there is nothing to learn."""

    def score(self, features: NDArray[np.float64]) -> Floats:
        return self._rule.scores(features[:, self._column])

    def score_at(self, features: Floats, rounds: int) -> Floats:
        return self.score(features)

    def scorer(self) -> Scorer:
        return self._rule
