"""Append-only ledger of model transitions: which version serves, and how that came about.

The ledger is the authority; MLflow's aliases and tags are a projection of it (`reconcile.py`). Which transition is
allowed is said by `states.py`. Every function works inside the caller's transaction, so that what goes with a
transition commits or vanishes with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from litgo_pipelines.database import Cursor, advisory_lock, sql
from litgo_pipelines.database.values import as_json
from litgo_pipelines.lifecycle import states
from litgo_pipelines.observability.metrics import add, count

LOCK = "model ledger"


class LedgerConflict(RuntimeError):
    """Somebody else appended first: read the ledger again and decide again."""


class Refused(ValueError):
    """The table does not allow the transition; the message says why. Nothing was written."""


@dataclass(frozen=True)
class Entry:
    """One row of `litgo.model_ledger`; `version` is the registry's version number as text."""

    sequence: int
    transition: str
    transition_key: str
    version: str
    evidence: dict[str, Any]
    run_id: str
    actor: str | None = None
    reason: str | None = None
    successor: str | None = None
    recorded_at: datetime | None = None


@dataclass(frozen=True)
class Actor:
    """Who decides, why, as of when, and in which Dagster run ('' outside of one). by_hand: a person."""

    who: str
    reason: str
    at: datetime
    run_id: str
    by_hand: bool = False

    def __post_init__(self) -> None:
        for name in ("who", "reason"):
            if not getattr(self, name).strip():
                raise Refused(f"{name} is empty: every transition says who and why")
        if self.at.tzinfo is None:
            raise ValueError(f"{self.at.isoformat()} has no zone")


_COLUMNS = "sequence, transition, transition_key, version, evidence, run_id, actor, reason, successor, recorded_at"


def head(cursor: Cursor) -> int:
    """Sequence number of the newest entry, 0 for an empty ledger: what `append` expects to follow."""
    cursor.execute("SELECT coalesce(max(sequence), 0) FROM litgo.model_ledger")
    return int(cursor.fetchone()[0])


def versions_of_others(cursor: Cursor, transition_key: str) -> set[str]:
    """Versions that the ledger names, but for that of this entry."""
    cursor.execute(
        "SELECT DISTINCT version FROM litgo.model_ledger "
        "WHERE version NOT IN (SELECT version FROM litgo.model_ledger WHERE transition_key = %s)",
        (transition_key,),
    )
    return {version for (version,) in cursor.fetchall()}


def current_champion(cursor: Cursor) -> Entry | None:
    """The entry by which what serves became champion; None while the heuristic ranker serves."""
    cursor.execute(f"SELECT {_COLUMNS} FROM litgo.current_champion")
    row = cursor.fetchone()
    return Entry(*row) if row else None


def state(cursor: Cursor) -> states.LedgerState:
    """What each version is now."""
    cursor.execute(
        "SELECT sequence, transition, version, recorded_at, successor, evidence ->> 'snapshot_sha256' "
        "FROM litgo.model_ledger ORDER BY sequence"
    )
    return states.fold(states.Step(*row) for row in cursor.fetchall())


def scorer_hashes(cursor: Cursor) -> dict[str, str]:
    """Version → SHA-256 of the one file it is served by, as its first entry that names one says."""
    return {version: str(hashes["scorer_sha256"]) for version, hashes in _hashes(cursor).items()}


def seed_hashes(cursor: Cursor, version: str) -> dict[str, str] | None:
    """Seed → SHA-256 of its file, from the same entry; None where it names none."""
    found = _hashes(cursor).get(version, {}).get("seed_sha256")
    return dict(found) if found else None


def _hashes(cursor: Cursor) -> dict[str, dict[str, Any]]:
    cursor.execute(
        "SELECT DISTINCT ON (version) version, evidence FROM litgo.model_ledger "
        "WHERE evidence ->> 'scorer_sha256' IS NOT NULL ORDER BY version, sequence"
    )
    return dict(cursor.fetchall())


def locked_state(cursor: Cursor) -> states.LedgerState:
    """As `state`; nobody else makes a transition until this transaction ends."""
    advisory_lock(cursor, LOCK)
    return state(cursor)


def apply_transition(
    cursor: Cursor,
    transition: states.Transition,
    key: str,
    version: str,
    evidence: Mapping[str, object],
    actor: Actor,
    *,
    successor: str | None = None,
    experiments: bool = True,
) -> Entry:
    """Append a transition if the table allows it, holding the lock of `locked_state`.

    The same key again only returns its entry. Raises Refused, or LedgerConflict when the key stands for another
    transition.
    """
    current = locked_state(cursor)
    if existing := _by_key(cursor, key):
        if (existing.transition, existing.version) != (transition, version):
            raise LedgerConflict(f"{key} was the {existing.transition} of version {existing.version} already")
        return existing
    reason = states.refusal(
        current,
        transition,
        version,
        actor.at,
        data=cast("str | None", evidence.get("snapshot_sha256")),
        successor=successor,
        by_hand=actor.by_hand,
        experiments=experiments,
    )
    if reason:
        raise Refused(reason)
    entry = append(
        cursor,
        transition,
        key,
        version,
        evidence,
        actor.run_id,
        current.sequence,
        actor=actor.who,
        reason=actor.reason,
        successor=successor,
        at=actor.at,
    )
    add(cursor, [count("model_transitions_total", transition=transition)])
    return entry


def append(
    cursor: Cursor,
    transition: str,
    key: str,
    version: str,
    evidence: Mapping[str, object],
    run_id: str,
    expected_sequence: int,
    *,
    actor: str | None = None,
    reason: str | None = None,
    successor: str | None = None,
    at: datetime | None = None,
) -> Entry:
    """Append one transition after entry `expected_sequence`, unjudged; the same `key` again only returns its entry.

    Of two appends that expect the same sequence, the second waits for the first transaction to end and then raises
    LedgerConflict (or succeeds, when the first rolled back). Raises ValueError for an unknown transition.
    """
    if transition not in states.TRANSITIONS:
        raise ValueError(f"unknown transition {transition!r}: one of {', '.join(states.TRANSITIONS)}")
    cursor.execute(
        sql("litgo_pipelines.lifecycle", "append.sql").replace("{columns}", _COLUMNS),
        {
            "expected": expected_sequence,
            "transition": transition,
            "key": key,
            "version": version,
            "evidence": as_json(evidence),
            "run_id": run_id,
            "actor": actor,
            "reason": reason,
            "successor": successor,
            "at": at,
        },
    )
    row = cursor.fetchone()
    if row:
        return Entry(*row)
    if existing := _by_key(cursor, key):
        return existing
    raise LedgerConflict(
        f"{key}: expected to follow entry {expected_sequence}, but the ledger is at {head(cursor)}; nothing was written"
    )


def _by_key(cursor: Cursor, key: str) -> Entry | None:
    cursor.execute(f"SELECT {_COLUMNS} FROM litgo.model_ledger WHERE transition_key = %s", (key,))
    row = cursor.fetchone()
    return Entry(*row) if row else None
