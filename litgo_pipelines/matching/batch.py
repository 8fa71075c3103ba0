"""One batch of pending cases, from candidates to committed offers.

The order of work: claim a batch (or the one a killed run left) → read everything once → decide case by case, each
seeing the reservations of those before it, each committed in a transaction of its own. Knows the database, not Dagster.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.database import Connection, Cursor, session_lock
from litgo_pipelines.embeddings import store
from litgo_pipelines.equity import availability
from litgo_pipelines.experiments import offer_life
from litgo_pipelines.marketplace import counts
from litgo_pipelines.matching import arm_loads, record, waits
from litgo_pipelines.matching.candidates import Cases, Lawyers, Reach, reached, read_cases, search, similar
from litgo_pipelines.matching.claim import (
    claim_batch,
    close_ahead,
    next_instant,
    open_batch,
    ready_cases,
    unmatched_cases,
)
from litgo_pipelines.matching.plan import Arms, Batch, Plan
from litgo_pipelines.matching.work import BatchResult, BatchWork
from litgo_pipelines.observability.metrics import add, count

LOCK = "matching"
CHUNK = 64  # cases whose features are computed together, and
CHUNK_PAIRS = 1 << 16  # about how many pairs: bounds memory, and keeps a column in the processor's cache


def match_pending(
    connection: Connection,
    plan: Plan,
    arms_for: Callable[[Cursor, Batch | None], Arms],
    as_of: datetime,
    run_id: str,
) -> Iterator[BatchResult]:
    """Match what is pending as of the instant: first the batch a killed run left open, then one of at most plan.limit.

    `connection`: in no transaction; one matcher works at a time, others wait. `arms_for(cursor, batch)`: the rankers
    an open batch began with, or (None) of a new one. Raises what the database raised when it is not one case's fault.
    Nothing is matched while more than half of a table is gone: who is not seen would count as not there.
    """
    with session_lock(connection, LOCK):
        while True:
            with connection, connection.cursor() as cursor:
                if counts.gone(cursor):
                    return
                close_ahead(cursor, as_of)
                left = open_batch(cursor)
                instant = left.as_of if left else next_instant(cursor, as_of)
                if left is None:
                    availability.record_accounts(cursor)
                    waits.mark_duplicates(cursor, plan, instant)
                    if waits.park(cursor, plan, instant):
                        availability.record(cursor, instant)
                found = [] if left else ready_cases(cursor, plan, instant)
                if not (left or found):
                    return
                arms = arms_for(cursor, left)
                batch = left or claim_batch(cursor, plan, arms, instant, found, run_id)
                lost = [ranker.fallback for ranker in arms.rankers.values() if ranker.fallback]
                add(cursor, [count("ranker_fallback_total", reason=reason) for reason in lost])
            result = match_batch(connection, batch, arms)
            result.resumed = left is not None
            yield result
            if left is None:
                return


def match_batch(connection: Connection, batch: Batch, arms: Arms) -> BatchResult:
    """Match the cases of a claimed batch that are not matched yet, and close it. The caller holds the lock."""
    started = time.monotonic()
    result = BatchResult(batch.batch_id, batch.as_of)
    with connection, connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64MB'")
        todo = unmatched_cases(cursor, batch)
        if todo:
            turns, case_ids, rounds = (list(column) for column in zip(*todo, strict=True))
            cases = read_cases(cursor, case_ids, rounds, batch.plan.preset, batch.as_of)
            lawyers, reach = search(cursor, cases, batch.plan.radii_km, batch.as_of)
            if not all(len(positions) for positions, _ in reach.found):
                # What changes from here on wakes who waits; who became free meanwhile is found.
                availability.record(cursor, batch.as_of)
                lawyers, reach = search(cursor, cases, batch.plan.radii_km, batch.as_of)
            assigned = arms.assign(cursor, cases.clients)
            lives = offer_life.of_clients(cursor, batch.plan.offers_tried, batch.plan.offer_hours, cases.clients)
            loads = arm_loads.read_arm_loads(cursor, arms.experiment, lawyers.ids, lawyers.offers_30d, batch.as_of)
            similarity = _similarity(connection, cursor, batch, cases, lawyers, reach)
            result.space = similarity[0]
    if todo:
        with connection, connection.cursor() as cursor:
            record.prepare(cursor)
        # A crash of the server may undo the last moment's cases. The batch is still open then, and is done again
        # with the same offers; closing it, below, is durable and makes everything before it so.
        connection.cursor().execute("SET synchronous_commit = off")
        connection.commit()
        work = BatchWork(
            connection=connection,
            batch=batch,
            arms=arms,
            rankers=dict(arms.rankers),
            assigned=assigned,
            lives=lives,
            cases=cases,
            lawyers=lawyers,
            loads=loads,
            reach=reach,
            similarity=similarity[1],
            turns=turns,
            result=result,
        )
        for rows in _chunks([len(positions) for positions, _ in reach.found]):
            work.chunk(rows)
        arms = replace(arms, rankers=work.rankers)
        connection.cursor().execute("SET synchronous_commit = on")
        connection.commit()
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE litgo.matching_batches SET finished_at = now() WHERE batch_id = %s", (batch.batch_id,))
    result.ranker = arms.champion.version or arms.champion.kind
    result.problem = "; ".join(dict.fromkeys(ranker.problem for ranker in arms.rankers.values() if ranker.problem))
    result.seconds = time.monotonic() - started
    return result


def _chunks(sizes: list[int]) -> Iterator[range]:
    """Consecutive cases, at most CHUNK and CHUNK_PAIRS at a time, one at least; `sizes`: pairs of each."""
    first = pairs = 0
    for row, size in enumerate(sizes):
        if row > first and (row - first == CHUNK or pairs + size > CHUNK_PAIRS):
            yield range(first, row)
            first, pairs = row, 0
        pairs += size
    if first < len(sizes):
        yield range(first, len(sizes))


def _similarity(
    connection: Connection, cursor: Cursor, batch: Batch, cases: Cases, lawyers: Lawyers, reach: Reach
) -> tuple[str, list[NDArray[np.float32]] | None]:
    """(space, S as `candidates.similar` says), in one space for the whole batch: the first to read chooses it."""
    if batch.watermark is None or batch.space == store.NO_SPACE:
        return store.NO_SPACE, None
    if batch.space is None:
        used = [members[reached(cases, lawyers, reach, area)] for area, members in enumerate(lawyers.members)]
        model = store.best_model(
            cursor,
            cases.ids,
            [lawyers.ids[k] for k in np.unique(np.concatenate(used))],
            batch.as_of,
            batch.watermark,
            batch.plan.embedding_model,
        )
    else:
        model = store.model_of(batch.space)
    space, found = similar(connection, cases, lawyers, reach, batch.as_of, model, batch.watermark)
    if batch.space is None:
        cursor.execute(
            "UPDATE litgo.matching_batches SET similarity_space = %s WHERE batch_id = %s", (space, batch.batch_id)
        )
    return space, found
