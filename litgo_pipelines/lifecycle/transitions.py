"""Transitions the pipelines make, each with its idempotency key and the notification it sends.

Inside the caller's transaction: entry, message to the team and alert commit together. Each is idempotent by its key and
raises `ledger.Refused` for what the table does not allow. What people do by hand is in `actions.py`.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from litgo_pipelines.database import Cursor
from litgo_pipelines.lifecycle import ledger
from litgo_pipelines.lifecycle.ledger import Actor, Entry
from litgo_pipelines.lifecycle.states import LedgerState
from litgo_pipelines.notifications.outbox import TEAM, Kind, Message, put

HEURISTIC = "the heuristic ranker"
STORED_HEURISTIC = "hand weights"  # in stored messages, evaluations and ledger keys; `notifications.messages` reads it
Severity = Literal["info", "warning", "critical"]


def enter(cursor: Cursor, version: str, candidate_key: str, evidence: Mapping[str, object], actor: Actor) -> Entry:
    """→ candidate. evidence: its `snapshot_sha256`, so that quarantined data never come back, and its figures."""
    return ledger.apply_transition(cursor, "candidate", first_entry(candidate_key), version, evidence, actor)


def first_entry(candidate_key: str) -> str:
    """The transition key of a candidate's first entry."""
    return f"candidate {candidate_key}"


def next_stage(state: LedgerState, experiments: bool) -> Literal["challenger", "champion"]:
    """What a candidate that passed the gate becomes. experiments: whether an experiment decides on champions."""
    return "challenger" if experiments and state.champion else "champion"


def challenge(cursor: Cursor, version: str, evidence: Mapping[str, object], actor: Actor) -> Entry:
    """candidate → challenger, by what the gate found."""
    return ledger.apply_transition(
        cursor, "challenger", f"challenger {version} {digest(evidence)}", version, evidence, actor
    )


def archive(cursor: Cursor, version: str, evidence: Mapping[str, object], actor: Actor) -> Entry:
    """candidate or challenger → archived, for good."""
    return ledger.apply_transition(
        cursor, "archived", f"archived {version} {digest(actor.reason)}", version, evidence, actor
    )


def promote(
    cursor: Cursor, version: str, key: str, evidence: Mapping[str, object], actor: Actor, *, experiments: bool = True
) -> Entry:
    """→ champion; the champion becomes previous. key: the experiment's id, or what else it is decided by once.

    evidence: `experiment_id`, where there was one, is shown in MLflow. experiments: as in `states.refusal`.
    """
    before = ledger.locked_state(cursor)
    entry = ledger.apply_transition(
        cursor, "champion", f"champion {key}", version, evidence, actor, experiments=experiments
    )
    if entry.sequence > before.sequence:
        notify(
            cursor,
            "model_promoted",
            "info",
            f"model {version}",
            entry.transition_key,
            f"Version {version} serves instead of {before.champion or HEURISTIC}: {actor.reason}",
            {"version": version, "previous": before.champion or STORED_HEURISTIC, "reason": actor.reason},
            actor.at,
        )
    return entry


def roll_back(
    cursor: Cursor, version: str, successor: str | None, incident: str, evidence: Mapping[str, object], actor: Actor
) -> Entry:
    """champion → quarantined, `successor` → champion; None: the heuristic ranker serves.

    `actions.roll_back_champion` finds the successor. What learned from the same data and has not served is archived. A
    second rollback within 7 days freezes promotion.
    """
    before = ledger.locked_state(cursor)
    entry = ledger.apply_transition(
        cursor, "rolled_back", f"rolled_back {incident}", version, evidence, actor, successor=successor
    )
    if entry.sequence <= before.sequence:
        return entry
    serves = (
        f"version {successor} serves again" if successor else "no earlier version can serve: the heuristic ranker does"
    )
    notify(
        cursor,
        "model_rolled_back",
        "warning" if successor else "critical",
        f"model {version}",
        entry.transition_key,
        f"Version {version} was rolled back, {serves}. {actor.reason}",
        {"version": version, "previous": successor or STORED_HEURISTIC, "reason": actor.reason},
        actor.at,
    )
    state = ledger.state(cursor)
    for other, stage in state.stages.items():
        if stage in ("candidate", "challenger") and state.data.get(other) in state.quarantined_data:
            because = f"it learned from data that a rollback quarantined; version {version} was rolled back now"
            archive(cursor, other, {}, Actor(actor.who, because, actor.at, actor.run_id, actor.by_hand))
    if state.frozen_by == entry.sequence:
        notify(
            cursor,
            "promotion_frozen",
            "critical",
            "promotion",
            f"frozen {entry.transition_key}",
            f"Nothing is promoted until a person lifts the freeze: {state.frozen}",
            {"reason": state.frozen},
            actor.at,
        )
    return entry


def lift_freeze(cursor: Cursor, actor: Actor) -> Entry:
    """Promotion goes on; again for the same freeze, it only returns the entry."""
    state = ledger.locked_state(cursor)
    key = f"freeze_lifted {state.frozen_by}"
    version = next((v for v, n in state.since.items() if n == state.frozen_by and v != state.champion), "none")
    return ledger.apply_transition(cursor, "freeze_lifted", key, version, {"frozen": state.frozen}, actor)


def notify(
    cursor: Cursor,
    kind: Kind,
    severity: Severity,
    subject: str,
    key: str,
    text: str,
    payload: dict[str, object],
    at: datetime,
) -> None:
    """A message to the team and an alert, in the caller's transaction; the same key is told once."""
    put(cursor, [Message(kind, TEAM, f"{kind}: {key}", payload)], at)
    alert(cursor, kind, severity, subject, f"{kind}: {key}", text, at)


def alert(cursor: Cursor, kind: str, severity: Severity, subject: str, key: str, text: str, at: datetime) -> bool:
    """A row in `litgo.alerts`; whether it is new."""
    cursor.execute(
        "INSERT INTO litgo.alerts (alert_key, kind, severity, subject, text, created_at) "
        "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (alert_key) DO NOTHING",
        (key, kind, severity, subject, text, at),
    )
    return cursor.rowcount == 1


def digest(value: object) -> str:
    """16 hex digits of a JSON value, for keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
