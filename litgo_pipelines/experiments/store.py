"""Experiments as rows: the running one, the arm of each client, and how an experiment starts, ramps and stops.

Every function works inside the caller's transaction. At most one experiment runs per layer (`layers.py`). Closing
cutoffs and what follows from them is in `cutoffs.py`, the statistics in `decision.py`, the hash that assigns clients in
`assignment.py`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from litgo_pipelines.database import Cursor, advisory_lock, sql
from litgo_pipelines.database.values import as_json
from litgo_pipelines.experiments import assignment
from litgo_pipelines.experiments.assignment import BUCKETS, Experiment
from litgo_pipelines.experiments.decision import HOURS, RATING, ExperimentRules, Guardrail
from litgo_pipelines.experiments.e_process import highest_rate, sd_for
from litgo_pipelines.experiments.layers import LAYERS, RANKING
from litgo_pipelines.experiments.outlook import outlook
from litgo_pipelines.lifecycle import ledger, transitions
from litgo_pipelines.lifecycle.ledger import Actor, Refused
from litgo_pipelines.lifecycle.states import LedgerState, refusal

PACKAGE = "litgo_pipelines.experiments"
LOCK = "experiments"  # taken before the ledger's
HOLDOUT_SALT = "litgo-holdout-1"
WINDOW_DAYS = 14  # from a client's first exposure until its outcome is final
# Margins are about a tenth of the hours' and a third of the stars' standard deviation, as in benchmarks/experiments.py.
GUARDRAILS = (Guardrail(HOURS, 14.0, higher_is_better=False, cap=24.0 * WINDOW_DAYS), Guardrail(RATING, 0.3))
EARLY_HARM_MARGINS = 2.0  # of a guardrail, before min_days
GINI_MARGIN = 0.02
BASELINE_DAYS = 60
BASELINE_RATE = 0.3  # where nothing was offered before
LOWEST_RATE, HIGHEST_RATE = 0.02, 0.98  # expected, whatever came before
FRESHER = "fresher"  # the gate's word in the ledger for a challenger that is as good and made of newer data


REFUSED = "experiment_refused"  # kind of the alert
REFUSED_FOR = timedelta(days=7)  # until what comes of the traffic is asked again


class Underpowered(Refused):
    """The experiment is not expected to show anything; a person may start it all the same."""


class SpecChanged(RuntimeError):
    """A stored specification is not the one the experiment was started with."""


@dataclass(frozen=True)
class ExperimentPlan:
    """What an experiment is started with; points are basis points of the clients. ValueError for what cannot be."""

    treatment_points: int = 1000
    ramp_points: int = 5000
    ramp_clients: int = 4000  # exposed in the first phase without harm, before the ramp
    holdout_points: int = 500
    min_sample_size: int = 1000
    horizon: int = 20_000
    guardrails: tuple[Guardrail, ...] = GUARDRAILS
    min_power: float = 0.0  # expected; with less it is refused unless forced
    non_inferiority_margin: float = 0.1  # of a challenger that is as good and fresher

    def __post_init__(self) -> None:
        for points in (self.treatment_points, self.ramp_points):
            if reason := _unusable(points):
                raise ValueError(reason)
        if unknown := {guardrail.name for guardrail in self.guardrails} - {HOURS, RATING}:
            raise ValueError(f"no sums are made for the guardrails {', '.join(sorted(unknown))}")


@dataclass(frozen=True)
class RunningExperiment:
    """An experiment in one phase. control, treatment: versions, None outside the layer of rankings, and as control also
    for the heuristic ranker. spec: as stored."""

    experiment: str
    layer: str
    phase: int
    treatment_points: int
    control: str | None
    treatment: str | None
    assignment: Experiment
    started_at: datetime
    spec: Mapping[str, Any]

    @property
    def rules(self) -> ExperimentRules:
        return ExperimentRules.from_dict(self.spec["rules"])

    @property
    def tries(self) -> str:
        """What treatment gets, in words."""
        return tries(self.treatment, self.spec)

    @property
    def window(self) -> timedelta:
        return timedelta(days=self.spec["window_days"])


def tries(version: str | None, spec: Mapping[str, Any]) -> str:
    """What an experiment tries, in words."""
    return f"version {version}" if version else f"offers of {spec['offer_hours']['treatment']:g} h"


_COLUMNS = (
    "e.experiment, e.layer, p.phase, p.treatment_points, e.control_version, e.treatment_version, e.started_at, e.spec, "
    "e.spec_sha256 FROM litgo.experiments e JOIN litgo.experiment_phases p USING (experiment)"
)


def running_experiment(cursor: Cursor, layer: str = RANKING) -> RunningExperiment | None:
    """The experiment that runs in a layer, in its newest phase."""
    cursor.execute(
        f"SELECT {_COLUMNS} WHERE NOT EXISTS (SELECT FROM litgo.experiment_ends x WHERE x.experiment = e.experiment) "
        "AND e.layer = %s ORDER BY p.phase DESC LIMIT 1",
        (layer,),
    )
    row = cursor.fetchone()
    return _running(row) if row else None


def load_experiment(cursor: Cursor, experiment: str, phase: int) -> RunningExperiment:
    """An experiment in the phase a batch began with, also when it ended since. Raises KeyError for an unknown one."""
    cursor.execute(f"SELECT {_COLUMNS} WHERE e.experiment = %s AND p.phase = %s", (experiment, phase))
    row = cursor.fetchone()
    if row is None:
        raise KeyError(f"no experiment {experiment} with phase {phase}")
    return _running(row)


def arms_of_clients(
    cursor: Cursor, running: RunningExperiment, client_ids: Sequence[str]
) -> list[tuple[str | None, int]]:
    """(arm, phase) of each client: as first exposed, else as assigned in the phase given; None in the holdout.

    client_ids: as Postgres prints a uuid.
    """
    cursor.execute(
        "SELECT client_id::text, arm, phase FROM litgo.experiment_arms "
        "WHERE experiment = %s AND client_id = ANY(%s::uuid[])",
        (running.experiment, list(client_ids)),
    )
    stored = {client: (arm, phase) for client, arm, phase in cursor.fetchall()}
    return [
        stored.get(client) or (assignment.assign(running.assignment, client), running.phase) for client in client_ids
    ]


def in_holdout(client_id: str, points: int) -> bool:
    """Whether the version before the champion ranks for a client, in every experiment and between them; pure.

    points: basis points of the clients. A larger holdout holds the smaller one.
    """
    return assignment.bucket(HOLDOUT_SALT, client_id) < points


def start(
    cursor: Cursor, version: str, plan: ExperimentPlan, actor: Actor, *, force: bool = False
) -> RunningExperiment:
    """Try the open challenger `version` against what serves. Raises Refused with the reason for what may not be.

    Underpowered: with the traffic of the last weeks the chance to show anything is below the plan's. force: start it.
    """
    advisory_lock(cursor, LOCK)
    state = ledger.locked_state(cursor)
    if reason := _refusal(cursor, state, version, actor.at, actor.by_hand):
        raise Refused(reason)
    experiment = experiment_name(cursor, version)
    equal = _way(cursor, version) == FRESHER
    spec = specification(cursor, experiment, plan, actor.at, not_worse=equal)
    require_power(f"version {version}", plan, spec, force=force)
    insert(cursor, RANKING, experiment, spec, state.champion, version, plan.treatment_points, actor)
    return load_experiment(cursor, experiment, 1)


def insert(
    cursor: Cursor,
    layer: str,
    experiment: str,
    spec: Mapping[str, object],
    control: str | None,
    treatment: str | None,
    points: int,
    actor: Actor,
) -> None:
    """The experiment and its first phase as rows; the caller holds the lock and has seen to it that none runs."""
    cursor.execute(
        "INSERT INTO litgo.experiments (experiment, layer, spec, spec_sha256, control_version, treatment_version, "
        "started_at, actor, reason, run_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            experiment,
            layer,
            json.dumps(spec),
            _digest(spec),
            control,
            treatment,
            actor.at,
            actor.who,
            actor.reason,
            actor.run_id,
        ),
    )
    _begin_phase(cursor, experiment, 1, points, actor)


def specification(
    cursor: Cursor,
    experiment: str,
    plan: ExperimentPlan,
    at: datetime,
    *,
    not_worse: bool = False,
    gini_margin: float | None = GINI_MARGIN,
) -> dict[str, Any]:
    """What is fixed before the first exposure. not_worse: treatment has to lose nothing, not to win; gini_margin: None
    where the layer does not choose who is offered."""
    highest = max(plan.treatment_points, plan.ramp_points)
    rate, clients = baseline(cursor, at)
    expected = min(max(rate, LOWEST_RATE), HIGHEST_RATE)
    rules = ExperimentRules(
        expected,
        plan.guardrails,
        sd=sd_for(expected, highest / BUCKETS),
        early_harm_margins=EARLY_HARM_MARGINS,
        min_sample_size=plan.min_sample_size,
        horizon=plan.horizon,
        gini_margin=gini_margin,
        non_inferiority_margin=plan.non_inferiority_margin if not_worse else None,
    )
    phases = [(plan.ramp_clients, plan.treatment_points / BUCKETS), (None, plan.ramp_points / BUCKETS)]
    return {
        "rules": rules.as_dict(),
        "salt": f"{experiment}:1",
        "holdout_salt": HOLDOUT_SALT if plan.holdout_points else None,
        "holdout_points": plan.holdout_points,
        "window_days": WINDOW_DAYS,
        "ramp": {"clients": plan.ramp_clients, "points": plan.ramp_points},
        "baseline": {"rate": rate, "clients": clients},
        "outlook": outlook(rules, phases, clients / BASELINE_DAYS, WINDOW_DAYS).as_dict(),
    }


def _way(cursor: Cursor, version: str) -> str | None:
    """The way by which the gate let the version up: better, or as good and fresher."""
    cursor.execute(
        "SELECT evidence #>> '{decision,way}' FROM litgo.model_ledger WHERE version = %s AND transition = 'challenger' "
        "ORDER BY sequence DESC LIMIT 1",
        (version,),
    )
    found = cursor.fetchone()
    return found[0] if found else None


def require_power(tried: str, plan: ExperimentPlan, spec: Mapping[str, Any], *, force: bool) -> None:
    """Raises Underpowered where the traffic is known and the experiment not worth its clients."""
    expected = spec["outlook"]
    chance = expected["power"][expected["decisive"]]
    if force or not spec["baseline"]["clients"] or chance >= plan.min_power:
        return
    raise Underpowered(
        f"an experiment with {tried} would hardly show anything: with {expected['clients']:,} clients the "
        f"chance to show that treatment {expected['claim']} at a lift of {float(expected['decisive']):+.0%} is "
        f"{chance:.0%}, AB_MIN_POWER {plan.min_power:.0%}; wait for more clients, or start it by hand with --force"
    )


def start_for_challenger(cursor: Cursor, plan: ExperimentPlan, at: datetime, run_id: str) -> RunningExperiment | None:
    """Start the experiment of the open challenger if it may; None when there is none, or while nothing may go up."""
    advisory_lock(cursor, LOCK)
    version = ledger.locked_state(cursor).challenger
    if version is None:
        return None
    try:
        return start(cursor, version, plan, Actor("experiments", f"version {version} passed the gate", at, run_id))
    except Underpowered as error:
        key = f"{REFUSED}: {version} {at.date().isoformat()}"
        transitions.alert(cursor, REFUSED, "warning", f"model {version}", key, f"{error}; asked again in 7 days", at)
        return None
    except Refused:
        return None


def challenger_to_try(cursor: Cursor, at: datetime) -> str | None:
    """The challenger `start_for_challenger` would start an experiment for."""
    state = ledger.state(cursor)
    version = state.challenger
    return None if version is None or _refusal(cursor, state, version, at) else version


def ramp(cursor: Cursor, points: int, actor: Actor, layer: str = RANKING) -> RunningExperiment:
    """A new phase of the layer's running experiment with `points` treated; who was exposed stays in the arm.

    Raises Refused when none runs, or with these points already, and for points that cannot be.
    """
    advisory_lock(cursor, LOCK)
    running = _required(cursor, layer)
    if points == running.treatment_points:
        raise Refused(f"{running.experiment} treats {points / 100:g} % already")
    if reason := _unusable(points) or _cannot_be_judged(points, running.rules):
        raise Refused(reason)
    _begin_phase(cursor, running.experiment, running.phase + 1, points, actor)
    return load_experiment(cursor, running.experiment, running.phase + 1)


def _required(cursor: Cursor, layer: str) -> RunningExperiment:
    if layer not in LAYERS:
        raise Refused(f"there is no layer {layer}: there are {', '.join(LAYERS)}")
    if running := running_experiment(cursor, layer):
        return running
    raise Refused("no experiment runs" if layer == RANKING else f"no experiment runs in the layer {layer}")


def stop(cursor: Cursor, actor: Actor, layer: str = RANKING, *, void: bool = False) -> RunningExperiment:
    """End the layer's running experiment without a verdict; `void` as in `end`. Refused when none runs."""
    advisory_lock(cursor, LOCK)
    running = _required(cursor, layer)
    end(cursor, running, "stopped", None, None, actor, void=void)
    return running


def end(
    cursor: Cursor,
    running: RunningExperiment,
    outcome: str,
    cutoff: datetime | None,
    decision: Mapping[str, object] | None,
    actor: Actor,
    *,
    void: bool = False,
) -> None:
    """The end of an experiment as a row; a challenger that was not promoted is archived. The caller holds the lock.

    void: what it compared with serves no longer, which says nothing about the challenger: it is tried again, against
    what serves then.
    """
    cursor.execute(
        "INSERT INTO litgo.experiment_ends (experiment, outcome, cutoff, ended_at, actor, reason, decision) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (
            running.experiment,
            outcome,
            cutoff,
            actor.at,
            actor.who,
            actor.reason,
            as_json(decision) if decision else None,
        ),
    )
    state = ledger.locked_state(cursor)
    tried_still = running.treatment is not None and state.challenger == running.treatment
    again = tried_still and void
    if running.treatment and tried_still and not again:
        evidence = {"experiment_id": running.experiment, "outcome": outcome, "decision": decision}
        because = Actor(actor.who, f"{running.experiment}: {actor.reason}", actor.at, actor.run_id, actor.by_hand)
        transitions.archive(cursor, running.treatment, evidence, because)
    _announce(cursor, running, outcome, actor, again=again)


def _announce(cursor: Cursor, running: RunningExperiment, outcome: str, actor: Actor, *, again: bool) -> None:
    """Alerts of how it ended. Of a promotion the ledger tells, but where no version was tried."""
    if outcome == "halt":
        transitions.notify(
            cursor,
            "experiment_halted",
            "critical",
            f"experiment {running.experiment}",
            running.experiment,
            f"{running.experiment} was halted, everybody gets what was before: {actor.reason}",
            {"experiment": running.experiment, "reason": actor.reason},
            actor.at,
        )
    elif outcome != "promote" or running.treatment is None:
        if running.treatment is None:
            follows = (
                f"set OFFER_HOURS for {running.tries} for all" if outcome == "promote" else "offers wait as before"
            )
        else:
            follows = f"version {running.treatment} {'is tried again' if again else 'does not serve'}"
        transitions.alert(
            cursor,
            "experiment_ended",
            "warning" if outcome in ("roll_back", "promote") else "info",
            f"experiment {running.experiment}",
            f"experiment_ended: {running.experiment}",
            f"{running.experiment} ended ({outcome}), {follows}: {actor.reason}",
            actor.at,
        )


def baseline(cursor: Cursor, at: datetime, days: int = BASELINE_DAYS) -> tuple[float, int]:
    """(share of clients whose first request was accepted in 14 days, clients), of those whose 14 days were over by `at`
    and began in the `days` before; BASELINE_RATE without any."""
    cursor.execute(
        sql(PACKAGE, "baseline.sql"),
        {"at": at, "since": timedelta(days=days), "window": timedelta(days=WINDOW_DAYS)},
    )
    clients, accepted = cursor.fetchone()
    return (accepted / clients if clients else BASELINE_RATE), clients


def experiment_name(cursor: Cursor, version: str) -> str:
    """The experiment that tries a version next: ranker-v42, then ranker-v42-2."""
    cursor.execute(
        "SELECT count(*) FROM litgo.experiments WHERE layer = %s AND treatment_version = %s", (RANKING, version)
    )
    (tried,) = cursor.fetchone()
    return f"ranker-v{version}-{tried + 1}" if tried else f"ranker-v{version}"


def _refusal(cursor: Cursor, state: LedgerState, version: str, at: datetime, by_hand: bool = False) -> str | None:
    if state.challenger != version:
        return f"version {version} is not the open challenger" + (
            f", version {state.challenger} is" if state.challenger else ": there is none"
        )
    if reason := refusal(state, "champion", version, at, by_hand=by_hand):
        return reason  # what could not be promoted is not tried on clients
    cursor.execute(
        "SELECT e.experiment FROM litgo.experiments e LEFT JOIN litgo.experiment_ends x USING (experiment) "
        "WHERE x.experiment IS NULL AND e.layer = %s",
        (RANKING,),
    )
    found = cursor.fetchone()
    return f"{found[0]} runs" if found else None


def _unusable(points: int) -> str | None:
    if not 0 < points < BUCKETS:
        return f"{points / 100:g} % of the clients cannot be treated: more than 0 and less than 100"
    return None


def _cannot_be_judged(points: int, rules: ExperimentRules) -> str | None:
    """Why an experiment's test, whose effects were fixed for the shares planned, has no answer for a larger one."""
    if rules.baseline_rate < highest_rate(points / BUCKETS, rules.sd):
        return None
    return (
        f"with {rules.baseline_rate:.0%} expected to convert, {points / 100:g} % treated cannot be judged: treat fewer"
    )


def _begin_phase(cursor: Cursor, experiment: str, phase: int, points: int, actor: Actor) -> None:
    cursor.execute(
        "INSERT INTO litgo.experiment_phases (experiment, phase, treatment_points, started_at, actor, reason) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        (experiment, phase, points, actor.at, actor.who, actor.reason),
    )


def _running(row: Sequence[Any]) -> RunningExperiment:
    experiment, layer, phase, points, control, treatment, started_at, spec, sha256 = row
    if _digest(spec) != sha256:
        raise SpecChanged(f"the specification of {experiment} was changed after its start")
    split = Experiment(spec["salt"], points, holdout_salt=spec["holdout_salt"], holdout_points=spec["holdout_points"])
    return RunningExperiment(experiment, layer, phase, points, control, treatment, split, started_at, spec)


def _digest(spec: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
