"""Claim: which cases a batch holds, written down before any of them is matched.

A batch that a killed run left open is read back with what it was frozen with. Knows the database, not Dagster.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from litgo_pipelines.database import Cursor, sql
from litgo_pipelines.embeddings import store
from litgo_pipelines.matching.plan import Arms, Batch, Plan
from litgo_pipelines.matching.statements import PACKAGE, statement
from litgo_pipelines.notifications.outbox import TEAM

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)  # an earlier instant is none: `waits.put_aside`
AHEAD = timedelta(hours=1)  # a batch further in the future is of a clock that was wrong
EMBEDDED_WITHIN = timedelta(minutes=2)  # a new case waits for its vector for so long


class WaitingCase(NamedTuple):
    case_id: str
    round: int
    created_at: datetime


class ClaimedCase(NamedTuple):
    """`turn`: its place in the batch, from 1, also when a part of the batch is done already."""

    turn: int
    case_id: str
    round: int


def waiting_cases(cursor: Cursor, plan: Plan, as_of: datetime, since: datetime | None = None) -> list[WaitingCase]:
    """The cases whose turn it is, at most plan.limit; `since`: created after it, all when None."""
    cursor.execute(
        statement("pending.sql"),
        {
            "as_of": as_of,
            "since": since or EARLIEST,
            "rounds": plan.rounds,
            "round_days": plan.round_days,
            "limit": plan.limit,
            "team": TEAM,
        },
    )
    return [WaitingCase(*row) for row in cursor.fetchall()]


def close_ahead(cursor: Cursor, as_of: datetime) -> None:
    """A batch of the future was written while a clock was wrong: its cases are matched in another."""
    cursor.execute(
        "UPDATE litgo.matching_batches SET finished_at = as_of WHERE finished_at IS NULL AND as_of > %s",
        (as_of + AHEAD,),
    )


def open_batch(cursor: Cursor) -> Batch | None:
    """The batch that a killed run left unfinished."""
    cursor.execute(
        "SELECT batch_id, as_of, case_ids::text[], rounds, parameters, model_version, experiment, phase, "
        "treatment_version, holdout_version, similarity_watermark, similarity_space "
        "FROM litgo.matching_batches WHERE finished_at IS NULL"
    )
    row = cursor.fetchone()
    if row is None:
        return None
    batch_id, as_of, case_ids, rounds, stored, *rest = row
    return Batch(batch_id, as_of, case_ids, rounds, Plan.load(stored), *rest)


def next_instant(cursor: Cursor, as_of: datetime) -> datetime:
    """The instant of a new batch. Offers of a batch are microseconds after it: two batches must be further apart."""
    cursor.execute(
        "SELECT GREATEST(%s, max(as_of) + interval '1 second') FROM litgo.matching_batches WHERE as_of <= %s",
        (as_of, as_of + AHEAD),
    )
    (instant,) = cursor.fetchone()
    return instant


def ready_cases(cursor: Cursor, plan: Plan, instant: datetime) -> list[WaitingCase]:
    """As `waiting_cases`, without those whose vectors are on their way."""
    found = waiting_cases(cursor, plan, instant)
    late = store.not_embedded_yet(cursor, [case.case_id for case in found], instant, EMBEDDED_WITHIN)
    return [case for case in found if case.case_id not in late]


def claim_batch(
    cursor: Cursor, plan: Plan, arms: Arms, as_of: datetime, found: Sequence[WaitingCase], run_id: str
) -> Batch:
    case_ids, rounds, _ = (list(column) for column in zip(*found, strict=True))
    watermark = store.watermark(cursor)
    ranked_by = {ranker.version or "" for ranker in arms.rankers.values()} | {""}  # the heuristic stands in for any
    plan = replace(plan, weights={version: weight for version, weight in plan.weights.items() if version in ranked_by})
    cursor.execute(
        "INSERT INTO litgo.matching_batches "
        "(as_of, case_ids, rounds, parameters, ranker, model_version, run_id, similarity_watermark, experiment, phase, "
        "treatment_version, holdout_version) "
        "VALUES (%s, %s::uuid[], %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING batch_id",
        (
            as_of,
            case_ids,
            rounds,
            json.dumps(asdict(plan)),
            arms.champion.kind,
            arms.champion.version,
            run_id,
            watermark,
            arms.experiment,
            arms.phase,
            arms.treatment_version,
            arms.holdout,
        ),
    )
    (batch_id,) = cursor.fetchone()
    return Batch(
        batch_id=batch_id,
        as_of=as_of,
        case_ids=case_ids,
        rounds=rounds,
        plan=plan,
        model_version=arms.champion.version,
        experiment=arms.experiment,
        phase=arms.phase,
        treatment_version=arms.treatment_version,
        holdout=arms.holdout,
        watermark=watermark,
        space=None,
    )


def unmatched_cases(cursor: Cursor, batch: Batch) -> list[ClaimedCase]:
    """What is left of the batch: not matched, not failed and not put off in this batch, still pending."""
    cursor.execute(
        sql(PACKAGE, "unmatched.sql"),
        {"case_ids": batch.case_ids, "rounds": batch.rounds, "as_of": batch.as_of},
    )
    return [ClaimedCase(*row) for row in cursor.fetchall()]
