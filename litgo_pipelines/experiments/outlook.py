"""Outlook: what an experiment may be expected to show, before its first exposure. Pure.

Stored with the specification, so that afterwards nobody expects more of it than it could give.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt
from statistics import NormalDist

import numpy as np

from litgo_pipelines.experiments import e_process
from litgo_pipelines.experiments.decision import ExperimentRules

LIFTS = (0.05, 0.10, 0.20)  # relative
DRAWS = 400  # quantiles of what chance adds


@dataclass(frozen=True)
class Outlook:
    """power: true lift → chance that it is shown by `clients`; days: until their outcomes are final, None: no pace."""

    clients: int
    days: float | None
    power: dict[float, float]

    def as_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        power = {f"{lift:g}": round(chance, 3) for lift, chance in self.power.items()}
        return {"clients": self.clients, "days": None if self.days is None else round(self.days, 1), "power": power}


def outlook(
    rules: ExperimentRules, phases: Sequence[tuple[int | None, float]], clients_per_day: float, window_days: float
) -> Outlook:
    """phases: (clients, None: the rest of the horizon; share treated), in order. clients_per_day: as before."""
    counts, left = [], rules.horizon
    for clients, _ in phases:
        counts.append(left if clients is None else min(clients, left))
        left -= counts[-1]
    fractions = [fraction for _, fraction in phases]
    days = rules.horizon / clients_per_day + window_days if clients_per_day > 0 else None
    if days is not None and rules.max_days is not None:
        days = min(days, rules.max_days)
    return Outlook(rules.horizon, days, {lift: power(rules, counts, fractions, lift) for lift in LIFTS})


def power(rules: ExperimentRules, clients: Sequence[int], fractions: Sequence[float], lift: float) -> float:
    """Chance that a true relative lift is shown when all these clients are final; looks before that add a little.

    The difference of rates is normal around lift · rate with the variance of all phases together; each phase shows it.
    """
    f = np.array(fractions)
    n = np.array(clients)[:, None] * np.column_stack([f, 1 - f])  # (phases, treatment and control)
    rate = rules.baseline_rate
    information = float((n.prod(axis=1) / np.maximum(n.sum(axis=1), 1)).sum())
    deviation = sqrt(rate * (1 - rate) / information)
    draws = np.array([NormalDist().inv_cdf((i + 0.5) / DRAWS) for i in range(DRAWS)])
    difference = lift * rate + deviation * draws
    treated = np.clip(rate + difference[:, None] * (1 - f), 0, 1) * n[:, 0]
    control = np.clip(rate - difference[:, None] * f, 0, 1) * n[:, 1]
    reached = e_process.log_e(f, n[:, 0], n[:, 1], treated, control, rate=rate, side=1, sd=rules.sd, grid=rules.grid)
    return float((reached >= log(1 / rules.alpha)).mean())
