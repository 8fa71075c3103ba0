"""Quality check in the database: what it reads, remembers and decides, and the rollback that follows.

The statistics are in `rules.py`, rolling a champion back is in `actions.py`. A check is one transaction: outcomes seen,
row, and the incident if there is one. The rollback comes after it, under a key made of the incident: a run that was
killed in between, or a second monitor, finds the incident and finishes it, once.

Three figures are kept: the champion against its reference (fast, but a fall in demand looks the same), the champion
against the holdout (certain, but slow, for the holdout is small), and the holdout against its own reference. An alarm
against the reference is excused while the holdout shows signs of the same fall.
"""

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from math import sqrt
from pathlib import Path
from typing import Any, Literal

from litgo_pipelines.database import Connection, Cursor, advisory_lock, in_transaction, sql
from litgo_pipelines.database.values import as_json
from litgo_pipelines.experiments import store
from litgo_pipelines.lifecycle import actions, ledger
from litgo_pipelines.lifecycle.ledger import Actor, Refused
from litgo_pipelines.monitoring.rules import Alarm, Counts, MonitorState, Observation, QualityRules, advance, cusum
from litgo_pipelines.resources.mlflow import MLflow

PACKAGE = "litgo_pipelines.monitoring"
LOCK = "quality monitor"  # taken before the experiments' and the ledger's
WHO = "quality monitor"
LOOK_BACK = timedelta(days=60)
MIN_OUTCOMES = 200  # of a reference
EXCUSED_FROM = 0.3  # CUSUM of the holdout against its own reference
EXCUSED_UP_TO = 5.0  # its cap: a holdout that is well again must not excuse for weeks
NULLS_MORE = 0.2  # than before the champion served
DEMAND = ("cusum", "window", "floor")  # alarms that a fall in demand can cause
OWN = "its own first outcomes in service"  # source of a reference
_Z = 1.645  # of a one-sided 95 % interval

CheckDecision = Literal["serves", "roll_back", "excused", "learns"]


@dataclass(frozen=True)
class MonitorLimits:
    """What an operator may set. outcome_hours: age at which an outcome is final, the offers' term; kept while a version
    serves. floor: `QUALITY_THRESHOLD`. min_outcomes: in an hour, before the hour is judged."""

    outcome_hours: float = 24.0
    floor: float = 0.85
    min_outcomes: int = 20


@dataclass(frozen=True)
class Reference:
    """Success rates to expect of the champion and of the holdout: lower ends of one-sided 95 % intervals, because what
    made a version champion is partly luck. None: not known yet. source: in words, for people. control_rate: of what
    the holdout gets, before the champion served; once it has enough outcomes beside the champion, of these."""

    rate: float
    control_rate: float | None
    null_share: float | None
    outcome_hours: float
    outcomes: int
    source: str


@dataclass(frozen=True)
class MonitorMemory:
    """What one check leaves for the next."""

    alone: MonitorState = field(default_factory=MonitorState)  # against the reference
    against_control: MonitorState = field(default_factory=MonitorState)
    control_cusum: float = 0.0

    def as_dict(self) -> dict[str, object]:
        return {
            "alone": self.alone.as_dict(),
            "against_control": self.against_control.as_dict(),
            "control_cusum": self.control_cusum,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "MonitorMemory":
        return cls(
            MonitorState.from_dict(values["alone"]),
            MonitorState.from_dict(values["against_control"]),
            values["control_cusum"],
        )


@dataclass(frozen=True)
class Episode:
    """One stay of a version in service, begun by the ledger's entry `sequence`."""

    sequence: int
    version: str
    since: datetime
    last: datetime  # of the last check, or `since`
    memory: MonitorMemory
    reference: Reference | None


@dataclass(frozen=True)
class QualityCheck:
    """What one check saw and decided; incident: under which the champion is rolled back."""

    version: str
    decision: CheckDecision
    alarms: tuple[Alarm, ...]
    seen: Observation
    before: MonitorMemory
    after: MonitorMemory
    reference: Reference | None
    incident: str | None = None


@dataclass(frozen=True)
class MonitorTick:
    """check: None without anything to see; rolled_back: (version, its successor or None for the heuristic ranker)."""

    check: QualityCheck | None = None
    rolled_back: tuple[str, str | None] | None = None


def check_due(cursor: Cursor, as_of: datetime, limits: MonitorLimits) -> bool:
    """Whether a check would see anything; one query."""
    cursor.execute(sql(PACKAGE, "due.sql"), {"at": as_of, "term": timedelta(hours=limits.outcome_hours)})
    return bool(cursor.fetchone()[0])


def check_and_act(
    connection: Connection, mlflow: MLflow, folder: Path, as_of: datetime, limits: MonitorLimits, run_id: str
) -> MonitorTick:
    """Finish what is unfinished, check, and roll the champion back if it must go. `connection`: in no transaction.

    folder: copies of served models. One query when there is nothing to see. Raises what the database raises: counts
    that could not be read are never "no problem".
    """
    if not in_transaction(connection, lambda cursor: check_due(cursor, as_of, limits)):
        return MonitorTick()
    before = _settle(connection, mlflow, folder, as_of, run_id)
    check = in_transaction(connection, lambda cursor: _check(cursor, as_of, limits, run_id))
    after = _settle(connection, mlflow, folder, as_of, run_id) if check and check.incident else None
    return MonitorTick(check, after or before)


def judge(
    memory: MonitorMemory, seen: Observation, reference: Reference | None, limits: MonitorLimits
) -> tuple[MonitorMemory, CheckDecision, tuple[Alarm, ...]]:
    """The next memory, the decision and its alarms; pure.

    seen: with the holdout's counts, None where it had no outcome in the day. An excused alarm starts the CUSUM anew:
    after the demand came back nothing of it is left to be blamed on the model.
    """
    nulls = reference.null_share if reference else None
    rules = QualityRules(
        reference_rate=reference.rate if reference else 0.5,  # not asked: without a reference there are no counts
        floor=limits.floor,
        window_min_outcomes=limits.min_outcomes,
        max_null_share=1.0 if nulls is None else min(1.0, nulls + NULLS_MORE),
    )
    if seen.requests < rules.min_requests:  # the share of a few requests says nothing of the model
        seen = replace(seen, null_share=None, latency_seconds=None)
    if reference is None:
        seen = replace(seen, new=Counts(), hour=Counts(), day=Counts())
    alone, alarms = advance(
        memory.alone,
        replace(seen, new=_without_control(seen.new), hour=_without_control(seen.hour), day=_without_control(seen.day)),
        rules,
    )
    against, control = memory.against_control, memory.control_cusum
    certain: tuple[Alarm, ...] = ()
    day = seen.day
    if reference and day.control_outcomes and day.outcomes:
        share = day.outcomes / (day.outcomes + day.control_outcomes)
        quiet = replace(seen, requests=0, errors=0, latency_seconds=None, null_share=None)
        against, certain = advance(against, quiet, replace(rules, fraction=share))
        if reference.control_rate is not None:
            expected = replace(rules, reference_rate=reference.control_rate)
            new = (seen.new.control_outcomes or 0, seen.new.control_successes or 0)
            control = min(float(cusum(control, expected, *new)), EXCUSED_UP_TO)
    if control >= EXCUSED_FROM and not certain and alarms and all(alarm.kind in DEMAND for alarm in alarms):
        return MonitorMemory(replace(alone, cusum=0.0), against, control), "excused", alarms
    found = (*certain, *(alarm for alarm in alarms if control < EXCUSED_FROM or alarm.kind not in DEMAND))
    decision: CheckDecision = "roll_back" if found else "serves" if reference else "learns"
    return MonitorMemory(alone, against, control), decision, found


def decision_text(check: QualityCheck) -> str:
    """The decision for people."""
    reasons = "; ".join(alarm.reason for alarm in check.alarms)
    if check.decision == "roll_back":
        return f"Version {check.version} must go: {reasons}."
    if check.decision == "excused":
        return (
            f"Version {check.version} serves on: {reasons}; but the holdout falls as well, which speaks for the demand."
        )
    if check.decision == "learns":
        return f"Version {check.version} serves; fewer than {MIN_OUTCOMES} final outcomes: no rate to compare with yet."
    return f"Version {check.version} serves as it should."


def _without_control(counts: Counts) -> Counts:
    return Counts(counts.outcomes, counts.successes)


def _check(cursor: Cursor, as_of: datetime, limits: MonitorLimits, run_id: str) -> QualityCheck | None:
    """One check as rows; None when another was made for this instant, or an incident waits, or no model serves."""
    advisory_lock(cursor, LOCK)
    episode = _episode(cursor)
    if episode is None or episode.last >= as_of:
        return None
    incident = f"quality {episode.sequence}"
    cursor.execute("SELECT EXISTS (SELECT FROM litgo.quality_incidents WHERE incident = %s)", (incident,))
    if cursor.fetchone()[0]:
        return None
    reference = episode.reference or _choose_reference(cursor, episode, as_of, limits, run_id)
    chosen_now = reference is not None and reference.source == OWN and episode.reference is None
    hours = reference.outcome_hours if reference else limits.outcome_hours
    seen, broken = _observe(cursor, episode, as_of, timedelta(hours=hours))
    if chosen_now:  # what a reference was made of is not judged by it
        seen = replace(seen, new=Counts())
    memory = episode.memory
    if reference and (learned := _holdout_in_service(cursor, episode)):
        rate, just_now = learned
        reference = replace(reference, control_rate=rate)
        if just_now:  # what was held against another rate excuses nothing
            memory = replace(memory, control_cusum=0.0)
    after, decision, alarms = judge(memory, seen, None if chosen_now else reference, limits)
    check = QualityCheck(
        episode.version,
        decision,
        alarms,
        seen,
        memory,
        after,
        reference,
        incident if decision == "roll_back" else None,
    )
    _record(cursor, episode.sequence, as_of, check, broken, run_id)
    return check


def _record(cursor: Cursor, episode: int, as_of: datetime, check: QualityCheck, broken: float, run_id: str) -> None:
    """The check's row, and the incident it opened."""
    new = check.seen.new
    cursor.execute(
        "INSERT INTO litgo.quality_checks (episode, checked_at, version, outcomes, successes, control_outcomes, "
        "control_successes, cusum_before, cusum, observation, state, alarms, decision, broken_batches, run_id) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            episode,
            as_of,
            check.version,
            new.outcomes,
            new.successes,
            new.control_outcomes or 0,
            new.control_successes or 0,
            check.before.alone.cusum,
            check.after.alone.cusum,
            as_json({**asdict(check.seen), "at": as_of.isoformat()}),
            as_json(check.after.as_dict()),
            as_json([asdict(alarm) for alarm in check.alarms]),
            check.decision,
            broken,
            run_id,
        ),
    )
    if check.incident:
        cursor.execute(
            "INSERT INTO litgo.quality_incidents (incident, episode, version, kind, reason, opened_at) "
            "VALUES (%s, %s, %s, %s, %s, %s)",
            (
                check.incident,
                episode,
                check.version,
                check.alarms[0].kind,
                "; ".join(alarm.reason for alarm in check.alarms),
                as_of,
            ),
        )


def _episode(cursor: Cursor) -> Episode | None:
    cursor.execute(sql(PACKAGE, "episode.sql"))
    row = cursor.fetchone()
    if row is None:
        return None
    sequence, version, since, last, memory, reference = row
    return Episode(
        sequence,
        version,
        since,
        last,
        MonitorMemory.from_dict(memory) if memory else MonitorMemory(),
        Reference(**reference) if reference else None,
    )


def _choose_reference(
    cursor: Cursor, episode: Episode, as_of: datetime, limits: MonitorLimits, run_id: str
) -> Reference | None:
    """The reference of an episode, written once: the version's own cases before (an experiment's arm, an earlier stay),
    else everybody's in the weeks before, else its first outcomes in service; None while there are too few."""
    term = timedelta(hours=limits.outcome_hours)
    previous = ledger.state(cursor).previous
    cursor.execute(
        sql(PACKAGE, "reference.sql"),
        {"version": episode.version, "control": previous, "since": episode.since, "look_back": LOOK_BACK, "term": term},
    )
    *counts, nulls = cursor.fetchone()
    own, control, everybody = ((counts[i], counts[i + 1]) for i in (0, 2, 4))
    options = [("its own cases before it served", own), (f"all cases of the {LOOK_BACK.days} days before", everybody)]
    if max(own[0], everybody[0]) < MIN_OUTCOMES:
        seen, _ = _observe(cursor, replace(episode, last=episode.since), as_of, term)
        options.append((OWN, (seen.new.outcomes, seen.new.successes)))
    found = next((option for option in options if option[1][0] >= MIN_OUTCOMES), None)
    if found is None:
        return None
    source, (outcomes, successes) = found
    reference = Reference(
        _lower_bound(outcomes, successes),
        _lower_bound(*control) if control[0] >= MIN_OUTCOMES else None,
        nulls,
        limits.outcome_hours,
        outcomes,
        source,
    )
    cursor.execute(
        "INSERT INTO litgo.quality_references (episode, version, reference, chosen_at, run_id) "
        "VALUES (%s, %s, %s, %s, %s)",
        (episode.sequence, episode.version, as_json(asdict(reference)), as_of, run_id),
    )
    return reference


def _holdout_in_service(cursor: Cursor, episode: Episode) -> tuple[float, bool] | None:
    """(success rate to expect of the holdout, whether the last check was the first that knew it); None: not known yet.

    What its ranker reached when it served more clients is too much: the champion takes the good lawyers first.
    """
    cursor.execute(sql(PACKAGE, "holdout.sql"), {"episode": episode.sequence, "outcomes": MIN_OUTCOMES})
    row = cursor.fetchone()
    return (_lower_bound(row[0], row[1]), row[2]) if row else None


def _lower_bound(outcomes: int, successes: int) -> float:
    """Lower end of Wilson's (1927) one-sided 95 % interval, kept off 0 and 1."""
    rate, z2 = successes / outcomes, _Z**2 / outcomes
    low = (rate + z2 / 2 - sqrt(z2 * (rate * (1 - rate) + z2 / 4))) / (1 + z2)
    return min(max(low, 0.005), 0.98)


def _observe(cursor: Cursor, episode: Episode, as_of: datetime, term: timedelta) -> tuple[Observation, float]:
    """What there is to see, and the number of batches whose model was broken so far."""
    values = {
        "episode": episode.sequence,
        "version": episode.version,
        "since": episode.since,
        "last": episode.last,
        "at": as_of,
        "term": term,
    }
    cursor.execute(sql(PACKAGE, "outcomes.sql"), values)
    (_, *model), (_, *control) = cursor.fetchall()
    held = [*control] if control[4] else [None] * 6
    new, hour, day = (Counts(*model[i : i + 2], *held[i : i + 2]) for i in (0, 2, 4))
    cursor.execute(sql(PACKAGE, "requests.sql"), values)
    requests, errors, latency, nulls, broken = cursor.fetchone()
    return Observation(as_of, new, hour, day, requests, errors, latency, nulls), float(broken)


def _settle(
    connection: Connection, mlflow: MLflow, folder: Path, as_of: datetime, run_id: str
) -> tuple[str, str | None] | None:
    """Roll back what an unfinished incident names; (version, what serves again) when it was rolled back by it.

    The experiment of a challenger ends first: what it compares with goes.
    """

    def begin(cursor: Cursor) -> tuple[str, str, str, str, datetime] | None:
        cursor.execute(
            "SELECT incident, version, kind, reason, opened_at FROM litgo.quality_incidents i "
            "WHERE NOT EXISTS (SELECT FROM litgo.quality_incident_ends e WHERE e.incident = i.incident) "
            "ORDER BY episode LIMIT 1"
        )
        found = cursor.fetchone()
        if found:
            advisory_lock(cursor, store.LOCK)
            running = store.running_experiment(cursor)
            if running and running.control == found[1]:
                reason = f"version {found[1]}, which it compares with, is rolled back: {found[3]}"
                store.stop(cursor, Actor(WHO, reason, as_of, run_id), void=True)
        return found

    found = in_transaction(connection, begin)
    if not found:
        return None
    incident, version, kind, reason, opened_at = found
    actor = Actor(WHO, reason, as_of, run_id)
    evidence = {"incident": incident, "kind": kind, "opened_at": opened_at.isoformat()}
    try:
        entry = actions.roll_back_champion(connection, mlflow, folder, version, incident, evidence, actor)
    except Refused:  # a person was faster
        entry = None
    in_transaction(
        connection,
        lambda cursor: cursor.execute(
            "INSERT INTO litgo.quality_incident_ends (incident, outcome, sequence, ended_at) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (incident) DO NOTHING",
            (incident, "rolled_back" if entry else "superseded", entry and entry.sequence, as_of),
        ),
    )
    return (version, entry.successor) if entry else None
