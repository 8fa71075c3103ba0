"""Experiments of the layer `offers`: whether offers that wait for another time bring more clients a lawyer.

Treatment's offers wait for other hours than `OFFER_HOURS` says, control's for those of the start. Nothing changes by
itself when one ends: who decided reads of it in an alert, and changes the setting.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from litgo_pipelines.database import Cursor, advisory_lock
from litgo_pipelines.experiments import store
from litgo_pipelines.experiments.layers import OFFERS
from litgo_pipelines.experiments.store import ExperimentPlan, RunningExperiment
from litgo_pipelines.lifecycle.ledger import Actor, Refused

SHORTEST_HOURS, LONGEST_HOURS = 1.0, 168.0


@dataclass(frozen=True)
class OfferLife:
    """How long the offers of one client's case wait; arm: None for who is in no experiment of the layer."""

    hours: float
    experiment: str | None = None
    arm: str | None = None
    phase: int | None = None


def start(
    cursor: Cursor, hours: float, usual: float, plan: ExperimentPlan, actor: Actor, *, force: bool = False
) -> RunningExperiment:
    """Try offers that wait for `hours` against the usual ones. Raises Refused; Underpowered as `store.start`."""
    advisory_lock(cursor, store.LOCK)
    if not SHORTEST_HOURS <= hours <= LONGEST_HOURS or hours == usual:
        raise Refused(
            f"offers cannot be tried with {hours:g} hours: between {SHORTEST_HOURS:g} and {LONGEST_HOURS:g}, "
            f"and other than the usual {usual:g}"
        )
    if running := store.running_experiment(cursor, OFFERS):
        raise Refused(f"{running.experiment} runs")
    name = _name(cursor, hours)
    spec = store.specification(cursor, name, plan, actor.at, gini_margin=None)
    spec["offer_hours"] = {"treatment": hours, "control": usual}
    store.require_power(f"offers that wait for {hours:g} hours", plan, spec, force=force)
    store.insert(cursor, OFFERS, name, spec, None, None, plan.treatment_points, actor)
    return store.load_experiment(cursor, name, 1)


def of_clients(cursor: Cursor, tried: tuple[str, int] | None, usual: float, clients: Sequence[str]) -> list[OfferLife]:
    """Of each client. tried: experiment and phase that a batch was frozen with; None: all are usual."""
    if tried is None:
        return [OfferLife(usual)] * len(clients)
    running = store.load_experiment(cursor, *tried)
    hours = running.spec["offer_hours"]
    return [
        OfferLife(usual) if arm is None else OfferLife(hours[arm], running.experiment, arm, running.phase)
        for arm, _ in store.arms_of_clients(cursor, running, clients)
    ]


def _name(cursor: Cursor, hours: float) -> str:
    """Hours may be tried again, under the next number: what came of them before stays what it was."""
    name = f"offers-{hours:g}h"
    cursor.execute(
        "SELECT count(*) FROM litgo.experiments WHERE experiment = %s OR experiment LIKE %s", (name, f"{name}-%")
    )
    (before,) = cursor.fetchone()
    return f"{name}-{before + 1}" if before else name
