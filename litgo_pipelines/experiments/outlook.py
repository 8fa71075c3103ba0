"""Outlook: what an experiment may be expected to show, before its first exposure. Pure.

Stored with the specification, so that afterwards nobody expects more of it than it could give.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt
from statistics import NormalDist

import numpy as np

from litgo_pipelines.experiments.decision import ExperimentRules, log_e_of_claim

LIFTS = (0.05, 0.10, 0.20)  # relative, of an experiment that has to show an improvement
EQUAL_LIFTS = (-0.05, 0.0, 0.05)  # of one that has to show that nothing is lost
DRAWS = 400  # quantiles of what chance adds


@dataclass(frozen=True)
class Outlook:
    """power: true lift → chance that the claim is shown by `clients`, those who come within the days allowed; days:
    until their outcomes are final, None: no pace is known. decisive: the lift by whose chance an experiment is refused.
    """

    clients: int
    days: float | None
    power: dict[float, float]
    decisive: float
    claim: str

    @property
    def decisive_power(self) -> float:
        return self.power[self.decisive]

    def as_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        power = {f"{lift:g}": round(chance, 3) for lift, chance in self.power.items()}
        return {
            "clients": self.clients,
            "days": None if self.days is None else round(self.days, 1),
            "power": power,
            "decisive": f"{self.decisive:g}",
            "claim": self.claim,
        }


def outlook(
    rules: ExperimentRules, phases: Sequence[tuple[int | None, float]], clients_per_day: float, window_days: float
) -> Outlook:
    """phases: (clients, None: the rest of the horizon; share treated), in order. clients_per_day: as before."""
    reachable, days = rules.horizon, None
    if clients_per_day > 0:
        days = rules.horizon / clients_per_day + window_days
        if rules.max_days is not None and days > rules.max_days:
            days = rules.max_days
            reachable = max(int((rules.max_days - window_days) * clients_per_day), 1)
    counts, left = [], reachable
    for clients, _ in phases:
        counts.append(left if clients is None else min(clients, left))
        left -= counts[-1]
    fractions = [fraction for _, fraction in phases]
    improvements = possible_lifts(rules.baseline_rate)
    lifts, decisive = (improvements, improvements[-1]) if rules.non_inferiority_margin is None else (EQUAL_LIFTS, 0.0)
    expected = {lift: power(rules, counts, fractions, lift) for lift in lifts}
    return Outlook(reachable, days, expected, decisive, rules.claim)


def possible_lifts(rate: float) -> tuple[float, ...]:
    """Those of LIFTS that treatment can reach beside a control of this rate; where there are none, the lift that wins
    half of those who do not convert."""
    return tuple(lift for lift in LIFTS if rate * (1 + lift) < 1) or ((1 / rate - 1) / 2,)


def power(rules: ExperimentRules, clients: Sequence[int], fractions: Sequence[float], lift: float) -> float:
    """Chance that the claim is shown of a true relative lift when all these clients are final; looks before that add a
    little.

    Control converts at the expected rate. The difference of rates is normal around lift · rate, with the variance of
    the pooled rates of all phases together; each phase shows it.
    """
    f = np.array(fractions)
    n = np.array(clients)[:, None] * np.column_stack([f, 1 - f])  # (phases, treatment and control)
    rate = rules.baseline_rate
    pooled = np.clip(rate * (1 + f * lift), 0, 1)
    weight = n.prod(axis=1) / np.maximum(n.sum(axis=1), 1)
    deviation = sqrt(float(weight @ (pooled * (1 - pooled)))) / float(weight.sum())
    draws = np.array([NormalDist().inv_cdf((i + 0.5) / DRAWS) for i in range(DRAWS)])
    difference = lift * rate + deviation * draws
    treated = np.clip(pooled + difference[:, None] * (1 - f), 0, 1) * n[:, 0]
    control = np.clip(pooled - difference[:, None] * f, 0, 1) * n[:, 1]
    counts = np.broadcast_to(n, (DRAWS, *n.shape))
    reached = log_e_of_claim(fractions, counts, np.stack([treated, control], axis=-1), rules)
    return float((reached >= log(1 / rules.alpha)).mean())
