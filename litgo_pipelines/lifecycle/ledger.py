"""Which model version serves, and how it came to: an append-only ledger in our own database.

The ledger is the authority; MLflow aliases are a projection of it (`projection.py`). Every function works inside the
caller's transaction, so that what goes with a transition commits or vanishes with it.
"""

import json
from dataclasses import dataclass
from typing import Any

TRANSITIONS = ("candidate", "champion", "rejected")


class LedgerConflict(RuntimeError):
    """Somebody else appended first: read the ledger again and decide again."""


@dataclass(frozen=True)
class Entry:
    """One row of `litgo.model_ledger`; `version` is the registry's version number as text."""

    sequence: int
    transition: str
    transition_key: str
    version: str
    evidence: dict[str, Any]
    run_id: str


_COLUMNS = "sequence, transition, transition_key, version, evidence, run_id"


def head(cursor: Any) -> int:
    """Sequence number of the newest entry, 0 for an empty ledger: what `append` expects to follow."""
    cursor.execute("SELECT coalesce(max(sequence), 0) FROM litgo.model_ledger")
    return int(cursor.fetchone()[0])


def current_champion(cursor: Any) -> Entry | None:
    """The newest champion; None while the hand-weighted ranker serves."""
    return _one(cursor, "transition = 'champion' ORDER BY sequence DESC LIMIT 1")


def append(
    cursor: Any,
    transition: str,
    key: str,
    version: str,
    evidence: dict[str, Any],
    run_id: str,
    expected_sequence: int,
) -> Entry:
    """Append one transition after entry `expected_sequence`; the same `key` again only returns its entry.

    Of two appends that expect the same sequence, the second waits for the first transaction to end and then raises
    LedgerConflict (or succeeds, when the first rolled back). Raises ValueError for an unknown transition.
    """
    if transition not in TRANSITIONS:
        raise ValueError(f"unknown transition {transition!r}: one of {', '.join(TRANSITIONS)}")
    cursor.execute(
        "INSERT INTO litgo.model_ledger (sequence, transition, transition_key, version, evidence, run_id) "
        "SELECT %(expected)s + 1, %(transition)s, %(key)s, %(version)s, %(evidence)s, %(run_id)s "
        "WHERE (SELECT coalesce(max(sequence), 0) FROM litgo.model_ledger) = %(expected)s "
        f"ON CONFLICT DO NOTHING RETURNING {_COLUMNS}",
        {
            "expected": expected_sequence,
            "transition": transition,
            "key": key,
            "version": version,
            "evidence": json.dumps(evidence),
            "run_id": run_id,
        },
    )
    row = cursor.fetchone()
    if row:
        return Entry(*row)
    if existing := _one(cursor, "transition_key = %s", (key,)):
        return existing
    raise LedgerConflict(
        f"{key}: expected to follow entry {expected_sequence}, but the ledger is at {head(cursor)}; nothing was written"
    )


def _one(cursor: Any, condition: str, parameters: tuple[Any, ...] = ()) -> Entry | None:
    cursor.execute(f"SELECT {_COLUMNS} FROM litgo.model_ledger WHERE {condition}", parameters)
    row = cursor.fetchone()
    return Entry(*row) if row else None
