"""Batch plan: the parameters, cases and rankers a batch is frozen with.

Written when the batch is claimed and read again when a killed run's batch is resumed: both make the same offers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from litgo_pipelines.database import Cursor
from litgo_pipelines.experiments import store
from litgo_pipelines.experiments.assignment import TREATMENT
from litgo_pipelines.experiments.layers import OFFERS
from litgo_pipelines.matching import day_limit
from litgo_pipelines.matching.allocation import Rule
from litgo_pipelines.models.ranking import Ranker
from litgo_pipelines.settings import Settings

SHORTEST_TERM = timedelta(minutes=15)
HOLDOUT = "holdout"  # clients the champion never ranks for: what it is compared with


@dataclass(frozen=True)
class Plan:
    """What decides the offers besides the data; kept with the batch."""

    rule: Rule = field(default_factory=Rule)  # its weight is for rankers that nobody calibrated
    weights: dict[str, float] = field(default_factory=dict)  # model version ("": heuristic ranker) → its calibrated λ
    rule_version: int | None = None  # newest calibration in `weights`; None: there is none
    exploration: float = 0.02
    radii_km: tuple[float, ...] = (50.0, 100.0, 200.0, 500.0)
    preset: str = "balanced"
    offer_hours: int = 24
    offer_burst_days: float = day_limit.BURST_DAYS
    offer_urgency_share: float = 0.5  # an offer lives no longer than this share of the case's urgency
    rounds: int = 3
    duplicate_minutes: int = 30  # a client's case in the words of an earlier one is that one; 0: never
    round_days: int = 14  # a case older than this gets no further round
    limit: int = 500
    embedding_model: str = "text-embedding-3-small"  # compares where it is complete, else the local one
    offers_tried: tuple[str, int] | None = None  # experiment and phase of the layer `offers`

    @classmethod
    def load(cls, stored: dict[str, Any]) -> "Plan":
        tried = stored.get("offers_tried")
        read = {"rule": Rule(**stored["rule"]), "radii_km": tuple(stored["radii_km"])}
        return cls(**{**stored, **read, "offers_tried": (tried[0], tried[1]) if tried else None})

    def rule_of(self, ranker: Ranker) -> Rule:
        """The allocation's rule with the ranker's own λ: scores of two models are not on one scale."""
        return replace(self.rule, weight=self.weights.get(ranker.version or "", self.rule.weight))


@dataclass(frozen=True)
class Batch:
    batch_id: int
    as_of: datetime
    case_ids: list[str]
    rounds: list[int]
    plan: Plan
    model_version: str | None  # the champion's
    experiment: str | None
    phase: int | None
    treatment_version: str | None
    holdout: str | None  # None: there is none; else the version that ranks for it, empty for the heuristic ranker
    watermark: int | None  # of the embeddings that are compared; None: none are
    space: str | None  # of the similarity; None: not chosen yet


def read_plan(cursor: Cursor, values: Settings) -> Plan:
    """The parameters of a new batch: the newest calibrated lambda of each ranker, and the settings."""
    cursor.execute(
        "SELECT DISTINCT ON (model_version) coalesce(model_version, ''), lambda, version "
        "FROM litgo.allocation_parameters ORDER BY model_version, version DESC"
    )
    calibrated = cursor.fetchall()
    tried = store.running_experiment(cursor, OFFERS) if values.ab_testing_enabled else None
    return Plan(
        rule=Rule(weight=values.allocation_lambda, keep=values.allocation_keep),
        weights={model: weight for model, weight, _ in calibrated},
        rule_version=max((version for *_, version in calibrated), default=None),
        exploration=values.exploration_share,
        radii_km=values.matching_radii_km,
        preset=values.matching_preset,
        offer_hours=values.offer_hours,
        offer_burst_days=values.offer_burst_days,
        offer_urgency_share=values.offer_urgency_share,
        rounds=values.matching_rounds,
        round_days=values.matching_round_days,
        duplicate_minutes=values.matching_duplicate_minutes,
        limit=values.matching_batch_size,
        embedding_model=values.openai_embedding_model,
        offers_tried=(tried.experiment, tried.phase) if tried else None,
    )


def offer_term(urgency_h: float, plan: Plan, hours: float | None = None) -> timedelta:
    """How long an offer lives: its usual term (or `hours`, where another is tried), and no more than a share of the
    case's urgency where that is known."""
    usual = timedelta(hours=plan.offer_hours if hours is None else hours)
    if not 0 < urgency_h < math.inf:
        return usual
    return min(usual, max(SHORTEST_TERM, timedelta(hours=plan.offer_urgency_share * urgency_h)))


def _no_arms(cursor: Cursor, clients: Sequence[str]) -> list[str | None]:
    return [None] * len(clients)


@dataclass(frozen=True)
class Arms:
    """Who is ranked by what in one batch. `rankers`: arm → ranker; None is who is in no experiment and no holdout.

    `assign(cursor, clients)`: the arm of each client; `experiment`, `phase`: of the arms treatment and control.
    """

    rankers: Mapping[str | None, Ranker]
    assign: Callable[[Any, Sequence[str]], Sequence[str | None]] = _no_arms
    experiment: str | None = None
    phase: int | None = None

    @classmethod
    def alone(cls, ranker: Ranker) -> "Arms":
        """One ranker for everybody."""
        return cls({None: ranker})

    @property
    def champion(self) -> Ranker:
        return self.rankers[None]

    @property
    def treatment_version(self) -> str | None:
        return self.rankers[TREATMENT].version if TREATMENT in self.rankers else None

    @property
    def holdout(self) -> str | None:
        """None: there is none; else the version that ranks for it, empty for the heuristic ranker."""
        return self.rankers[HOLDOUT].version or "" if HOLDOUT in self.rankers else None
