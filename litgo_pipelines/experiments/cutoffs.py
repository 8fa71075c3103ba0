"""Cutoffs of an experiment: observed outcomes, sums, interim analyses of the Gini, the decision and its consequences.

A cutoff is an instant start + k · minutes. A tick closes the newest one that has passed, in one transaction: killed at
any line it leaves nothing, run again it finds the cutoff open, run beside itself it waits and finds it closed. Cutoffs
missed while nothing ran are looks not taken: sums are cumulative, and statistics that hold at all looks at once hold at
any of them.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from litgo_pipelines.database import Cursor, advisory_lock, sql
from litgo_pipelines.equity import availability
from litgo_pipelines.equity.capacity import DEFAULT_RULES
from litgo_pipelines.equity.share import LEAST_SHARE
from litgo_pipelines.experiments import fairness, store
from litgo_pipelines.experiments.assignment import BUCKETS
from litgo_pipelines.experiments.confidence import Moments
from litgo_pipelines.experiments.decision import (
    HOURS,
    RATING,
    Arm,
    Cutoff,
    ExperimentDecision,
    ExperimentOutcome,
    ExperimentRules,
    Phase,
    decide_experiment,
)
from litgo_pipelines.experiments.fairness import InterimAnalysis
from litgo_pipelines.experiments.layers import RANKING
from litgo_pipelines.experiments.store import PACKAGE, RunningExperiment
from litgo_pipelines.lifecycle import ledger, transitions
from litgo_pipelines.lifecycle.ledger import Actor

WHO = "experiments"


@dataclass(frozen=True)
class ClosedCutoff:
    """One closed cutoff. held: why the decision was not carried out; ended: the outcome, when the experiment ended with
    it; ramped_to: basis points treated from now on, when they changed."""

    experiment: str
    cutoff: Cutoff
    decision: ExperimentDecision
    held: str | None = None
    ended: str | None = None
    ramped_to: int | None = None


@dataclass(frozen=True)
class NewestCutoff:
    """The newest closed cutoff with its experiment; treatment: the version, where one is tried; history: (instant, log
    e for the claim, worse, mismatch) of at most about 300 cutoffs; stopped: why it was stopped without a verdict;
    utilisation: of available lawyers, now."""

    experiment: str
    control: str
    treatment: str | None
    tries: str
    rules: ExperimentRules
    cutoff: Cutoff
    decision: ExperimentDecision
    held: str | None
    stopped: str | None
    history: tuple[tuple[datetime, float, float, float], ...]
    utilisation: float | None


def cutoff_due(cursor: Cursor, as_of: datetime, cutoff_minutes: int, *, starts: bool = True) -> bool:
    """Whether a cutoff can be closed or (starts) an experiment started; one query when there is nothing to do."""
    cursor.execute(
        sql(PACKAGE, "cutoff_due.sql").replace("{newest}", _NEWEST).replace("{closed}", _CLOSED),
        {
            "as_of": as_of,
            "step": timedelta(minutes=cutoff_minutes),
            "refused": store.REFUSED,
            "retry": store.REFUSED_FOR,
        },
    )
    closable, challenger = cursor.fetchone()
    return closable or (starts and challenger and store.challenger_to_try(cursor, as_of) is not None)


def close_cutoff(
    cursor: Cursor, as_of: datetime, cutoff_minutes: int, run_id: str, layer: str = RANKING
) -> ClosedCutoff | None:
    """Close the newest cutoff of the layer's running experiment; None when there is none to close. One transaction.

    Raises what the database raises: a figure that could not be read is never "no problem". A promotion that the ledger
    refuses is held: the next cutoff decides again.
    """
    advisory_lock(cursor, store.LOCK)
    running = store.running_experiment(cursor, layer)
    at = _open_cutoff(cursor, running, as_of, cutoff_minutes) if running else None
    if running is None or at is None:
        return None
    rules = running.rules
    cutoff = _gather(cursor, running, rules, at)
    decision = decide_experiment(cutoff, rules)
    held, ended = _carry_out(cursor, running, cutoff, decision, as_of, run_id)
    cursor.execute(
        "INSERT INTO litgo.experiment_cutoffs (experiment, cutoff, statistics, decision, held) "
        "VALUES (%s, %s, %s, %s, %s)",
        (running.experiment, at, _json(cutoff.as_dict()), _json(decision.as_dict()), held),
    )
    ramped_to = None if ended or held else _ramp(cursor, running, cutoff, as_of, run_id)
    return ClosedCutoff(running.experiment, cutoff, decision, held, ended, ramped_to)


def newest_cutoff(cursor: Cursor, layer: str = RANKING) -> NewestCutoff | None:
    """None before the first closed cutoff of the layer. The decision is made again from the stored sums."""
    cursor.execute(
        sql(PACKAGE, "newest_cutoff.sql"),
        {"heuristic": transitions.HEURISTIC, "layer": layer},
    )
    row = cursor.fetchone()
    if row is None:
        return None
    experiment, control, treatment, spec, stored, statistics, held, stopped, utilisation = row
    cursor.execute(
        sql(PACKAGE, "history.sql"),
        (experiment,),
    )
    rules, cutoff = ExperimentRules.from_dict(stored), Cutoff.from_dict(statistics)
    return NewestCutoff(
        experiment,
        control if treatment else f"offers of {spec['offer_hours']['control']:g} h",
        treatment,
        store.tries(treatment, spec),
        rules,
        cutoff,
        decide_experiment(cutoff, rules),
        held,
        stopped,
        tuple(cursor.fetchall()),
        utilisation,
    )


# Offers of each lawyer in the 30 days up to an instant: from before the experiment, and since.
_MONTH = """
SELECT lawyer_id::text, count(*) FILTER (WHERE sent_at <= %(began)s), count(*) FILTER (WHERE sent_at > %(began)s)
FROM offers WHERE sent_at > %(until)s - interval '30 days' AND sent_at <= %(until)s GROUP BY 1
"""
_NEWEST = "date_bin(%(step)s, %(as_of)s, e.started_at)"
_CLOSED = (
    "coalesce((SELECT max(cutoff) FROM litgo.experiment_cutoffs c WHERE c.experiment = e.experiment), e.started_at)"
)


def _open_cutoff(cursor: Cursor, running: RunningExperiment, as_of: datetime, cutoff_minutes: int) -> datetime | None:
    cursor.execute(
        f"SELECT {_NEWEST} FROM litgo.experiments e WHERE e.experiment = %(experiment)s AND {_NEWEST} > {_CLOSED}",
        {"experiment": running.experiment, "as_of": as_of, "step": timedelta(minutes=cutoff_minutes)},
    )
    row = cursor.fetchone()
    return row[0] if row else None


def _gather(cursor: Cursor, running: RunningExperiment, rules: ExperimentRules, at: datetime) -> Cutoff:
    """Everything known at the cutoff; records the outcomes seen for it."""
    caps = [guardrail.cap for guardrail in rules.guardrails if guardrail.name == HOURS]
    values = {
        "experiment": running.experiment,
        "cutoff": at,
        "window": running.window,
        "cap": (caps and caps[0]) or running.window / timedelta(hours=1),
    }
    cursor.execute(sql(PACKAGE, "outcomes.sql"), values)
    cursor.execute(sql(PACKAGE, "statistics.sql"), values)
    rows = cursor.fetchall()
    phases = tuple(
        Phase(points / BUCKETS, _arm(*treatment), _arm(*control))
        for (points, *treatment), (_, *control) in zip(rows[::2], rows[1::2], strict=True)
    )
    exposed = sum(phase.treatment.exposed + phase.control.exposed for phase in phases)
    return Cutoff(running.started_at, at, phases, _interim_analyses(cursor, running, rules, at, exposed))


def _arm(
    exposed: int, mature: int, accepted: int, hours: float, hours_2: float, rated: int, stars: float, stars_2: float
) -> Arm:
    return Arm(
        exposed,
        mature,
        accepted,
        {
            HOURS: Moments(mature, hours, hours_2, mature, hours, mature),
            RATING: Moments(mature, stars, stars_2, rated, stars, rated),  # a ratio: the mean over those who rated
        },
    )


def _interim_analyses(
    cursor: Cursor, running: RunningExperiment, rules: ExperimentRules, at: datetime, exposed: int
) -> tuple[InterimAnalysis, ...]:
    """Interim analyses already stored, and those that are due now."""
    if rules.gini_margin is None:
        return ()
    cursor.execute(
        "SELECT statistics -> 'gini_looks' FROM litgo.experiment_cutoffs WHERE experiment = %s "
        "ORDER BY cutoff DESC LIMIT 1",
        (running.experiment,),
    )
    row = cursor.fetchone()
    taken = {analysis["clients"]: InterimAnalysis(**analysis) for analysis in row[0]} if row else {}
    for clients in fairness.interim_points(min(exposed, rules.horizon)):
        if clients not in taken and (analysis := _analyse_spread(cursor, running, rules, at, clients)):
            taken[clients] = analysis
    return tuple(taken[clients] for clients in sorted(taken))


def _analyse_spread(
    cursor: Cursor, running: RunningExperiment, rules: ExperimentRules, at: datetime, clients: int
) -> InterimAnalysis | None:
    """None while an arm has no offer among these clients: nothing to compare, the next cutoff tries again."""
    cursor.execute(sql(PACKAGE, "spread.sql"), {"experiment": running.experiment, "cutoff": at, "clients": clients})
    found = cursor.fetchall()
    rows, until = [row[:-1] for row in found], found[0][-1]
    cursor.execute(_MONTH, {"until": until, "began": running.started_at})
    month = {lawyer: counts for lawyer, *counts in cursor.fetchall()}
    cursor.execute(
        sql(PACKAGE, "lawyers.sql"),
        {"offered": list({lawyer for *_, lawyer in rows if lawyer}), "cutoff": at, "base": DEFAULT_RULES["base"]},
    )
    capacity = dict(cursor.fetchall())
    there = availability.shares_of(list(capacity), *availability.read_shares(cursor, until))
    room = np.array(list(capacity.values())) * np.maximum(there, LEAST_SHARE)
    place = {lawyer: number for number, lawyer in enumerate(capacity)}
    offers = [(number, treated, place[lawyer]) for number, treated, _, lawyer in rows if lawyer in place]
    if len({treated for _, treated, _ in offers}) < 2:
        return None
    arms = {number: (treated, phase) for number, treated, phase, _ in rows}
    seed = int.from_bytes(hashlib.sha256(f"{running.spec['salt']}:gini:{clients}".encode()).digest()[:6], "big")
    return fairness.interim_analysis(
        [treated for treated, _ in arms.values()],
        [phase for _, phase in arms.values()],
        [number for number, *_ in offers],
        [lawyer for *_, lawyer in offers],
        room,
        seed=seed,
        permutations=rules.permutations,
        base=[month.get(lawyer, (0, 0))[0] for lawyer in capacity],
        made=sum(since for _, since in month.values()),
    )


def _carry_out(
    cursor: Cursor,
    running: RunningExperiment,
    cutoff: Cutoff,
    decision: ExperimentDecision,
    as_of: datetime,
    run_id: str,
) -> tuple[str | None, str | None]:
    """(why it is held, outcome when the experiment ended)."""
    stored = decision.as_dict()
    if running.treatment is None:  # what a person set, a person changes
        if decision.outcome.final:
            store.end(
                cursor,
                running,
                str(decision.outcome),
                cutoff.at,
                stored,
                Actor(WHO, "; ".join(decision.reasons), as_of, run_id),
            )
        return None, str(decision.outcome) if decision.outcome.final else None
    state = ledger.locked_state(cursor)
    if (state.champion, state.challenger) != (running.control, running.treatment):
        void = state.champion != running.control
        serves, control = (f"version {v}" if v else transitions.HEURISTIC for v in (state.champion, running.control))
        reason = (
            f"what serves is now {serves}, the experiment compares with {control}"
            if void
            else f"version {running.treatment} is {state.stages.get(running.treatment)} and no longer the challenger"
        )
        store.end(cursor, running, "stopped", cutoff.at, stored, Actor(WHO, reason, as_of, run_id), void=void)
        return None, "stopped"
    outcome = decision.outcome
    if not outcome.final:
        return None, None
    actor = Actor(WHO, "; ".join(decision.reasons), as_of, run_id)
    if outcome is ExperimentOutcome.PROMOTE:
        evidence = {"experiment_id": running.experiment, "cutoff": cutoff.at.isoformat(), "decision": stored}
        try:
            transitions.promote(cursor, running.treatment, running.experiment, evidence, actor)
        except ledger.Refused as error:
            held = str(error)
            transitions.alert(
                cursor,
                "promotion_held",
                "warning",
                f"experiment {running.experiment}",
                f"promotion_held: {running.experiment} {transitions.digest(held)}",
                f"{running.experiment} would promote version {running.treatment}, but {held}",
                as_of,
            )
            return held, None
    store.end(cursor, running, str(outcome), cutoff.at, stored, actor)
    return None, str(outcome)


def _ramp(cursor: Cursor, running: RunningExperiment, cutoff: Cutoff, as_of: datetime, run_id: str) -> int | None:
    """The second phase, once enough clients were exposed and nothing speaks against it."""
    plan = running.spec["ramp"]
    exposed = sum(phase.treatment.exposed + phase.control.exposed for phase in cutoff.phases)
    if running.phase > 1 or exposed < plan["clients"] or plan["points"] == running.treatment_points:
        return None
    reason = f"{exposed:,} clients and no harm seen"
    return store.ramp(cursor, plan["points"], Actor(WHO, reason, as_of, run_id), running.layer).treatment_points


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False)
