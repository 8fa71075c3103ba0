"""Load as an experiment's arm sees it: what it would be if the arm had all of the experiment's clients.

With one ledger for both arms, the one makes up for the other: offers that treatment crowds on a few lawyers are
balanced by control, and treatment meets less load where it should turn away. The Gini of an arm's offers then says
nothing about the model alone. So an arm's own offers count as many times as its share asks for, the other arm's not at
all, and everybody else's (of before the experiment, of the holdout) as they are. Knows the database.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Floats
from litgo_pipelines.database import Cursor, sql
from litgo_pipelines.experiments.assignment import ARMS
from litgo_pipelines.matching.statements import PACKAGE

_OFFERS = sql(PACKAGE, "arm_offers.sql")


@dataclass
class ArmLoads:
    """`all_offers`: of each lawyer in 30 days, shape (n,), changed by reserving; `own`: an arm's part of it; `times`:
    how often an arm's offer counts for it."""

    all_offers: Floats
    own: Mapping[str, Floats]
    times: Mapping[str, float]

    def of(self, arm: str | None, who: NDArray[np.int64]) -> Floats:
        """Offers in 30 days as the arm sees them, of some lawyers; of an arm that is none of the two, as they are."""
        if arm is None or arm not in self.own:
            return self.all_offers[who]
        both = np.sum([own[who] for own in self.own.values()], axis=0)
        return self.all_offers[who] - both + self.times[arm] * self.own[arm][who]

    def reserve(self, arm: str | None, rows: NDArray[np.int64]) -> None:
        """One more offer for each of the (distinct) lawyers."""
        self.all_offers[rows] += 1
        if arm is not None and arm in self.own:
            self.own[arm][rows] += 1


def read_arm_loads(
    cursor: Cursor, experiment: str | None, ids: list[str], offers_30d: Floats, as_of: datetime
) -> ArmLoads:
    """As of the instant, with what a batch at that instant has done already. ids, offers_30d: (n,), of lawyers."""
    if experiment is None:
        return ArmLoads(offers_30d, {}, {})
    values = {"experiment": experiment, "arms": list(ARMS), "as_of": as_of, "until": as_of + timedelta(seconds=1)}
    cursor.execute(_OFFERS, values)
    row = {lawyer: number for number, lawyer in enumerate(ids)}
    own, before = {arm: np.zeros(len(ids)) for arm in ARMS}, dict.fromkeys(ARMS, 0)
    for arm, lawyer, offers, earlier in cursor.fetchall():
        before[arm] += earlier
        if lawyer in row:
            own[arm][row[lawyer]] = offers
    times = {arm: sum(before.values()) / before[arm] if before[arm] else 1.0 for arm in ARMS}
    return ArmLoads(offers_30d, own, times)
