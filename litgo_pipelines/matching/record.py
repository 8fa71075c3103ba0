"""Record: rows written for one matched case, in one statement and one transaction, and for a failed attempt."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import psycopg2
from psycopg2.errors import LockNotAvailable

from litgo_pipelines.database import (
    Connection,
    Cursor,
    error_kind,
    in_transaction,
    no_partition,
    of_the_database,
    refuses_a_row,
    sql,
)
from litgo_pipelines.database.values import as_json
from litgo_pipelines.experiments.offer_life import OfferLife
from litgo_pipelines.matching.explain import Entry
from litgo_pipelines.matching.statements import PACKAGE
from litgo_pipelines.models.ranking import Ranker
from litgo_pipelines.notifications.outbox import TEAM, Message, put
from litgo_pipelines.observability.metrics import Delta, columns

ATTEMPTS = 3  # then a person is told
LOCK_SECONDS = 5
RETRY = timedelta(minutes=5)  # times the number of failed attempts
RETRY_TOLD = timedelta(days=1)  # the same, once a person was told
_TYPES = {
    "case_id": "uuid",
    "round": "int",
    "batch_id": "bigint",
    "sent_at": "timestamptz",
    "candidates": "int",
    "radius_km": "float8",
    "weight": "float8",
    "pool_load": "float8",
    "considered": "jsonb",
    "weights_used": "jsonb",
    "ranker": "text",
    "model_version": "text",
    "preset": "text",
    "term": "interval",
    "metric_names": "text[]",
    "metric_labels": "jsonb[]",
    "metric_values": "float8[]",
    "experiment": "text",
    "arm": "text",
    "phase": "int",
    "seconds": "float8",
    "set_lawyers": "uuid[]",
    "set_features": "bytea",
    "shown": "boolean",
    "life_experiment": "text",
    "life_arm": "text",
    "life_phase": "int",
}
# What is deferred speaks within the statement: it may be about one of the lawyers alone.
_PARAMETERS = ", ".join(f"%({name})s::{kind}" for name, kind in _TYPES.items())
_EXECUTE = f"SET CONSTRAINTS ALL IMMEDIATE; EXECUTE make_offers ({_PARAMETERS})"


@dataclass(frozen=True, kw_only=True)
class MatchedCase:
    """One case's matching. radius_km: None for anywhere; seconds: of scoring; considered: `explain.considered`;
    set_lawyers, set_features: `candidate_sets`; life: of its offers, already in `term`."""

    case_id: str
    round: int
    batch_id: int
    sent_at: datetime
    candidates: int
    radius_km: float | None
    weight: float
    pool_load: float
    considered: list[Entry]
    ranker: Ranker
    preset: str
    complexity: str
    term: timedelta
    experiment: str | None
    arm: str | None
    phase: int | None
    seconds: float
    life: OfferLife
    set_lawyers: list[str]
    set_features: bytes


class OffersDropped(RuntimeError):
    """The marketplace took fewer offers than were made without an error: a trigger or rule of theirs."""


class LawyersRefused(RuntimeError):
    """The marketplace takes no offer for these lawyers, whatever the case has of others."""

    def __init__(self, lawyers: list[str], why: str) -> None:
        super().__init__(f"the marketplace takes no offer of this case for {len(lawyers)} lawyers, one by one: {why}")
        self.lawyers = lawyers


def prepare(cursor: Cursor) -> None:
    """Once per connection, before `write`."""
    cursor.execute("DEALLOCATE ALL")
    cursor.execute("SET plan_cache_mode = force_generic_plan")  # one plan suits every case; making it takes as long
    cursor.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")  # a row that somebody holds delays its case alone
    cursor.execute(sql(PACKAGE, "offers.sql"))


def write(connection: Connection, matched: MatchedCase, deltas: list[Delta]) -> int:
    """Offers, log, outbox, exposure and metrics; the number of offers, 0 for a case that was matched or taken since.

    A lawyer's row that cannot show it is left as it is. Raises LawyersRefused when the marketplace takes no offer for
    some of the lawyers, what the database raised when each of them alone could be offered the case.
    """
    parameters = _parameters(matched, deltas)
    for shown in (True, False):
        try:
            return in_transaction(connection, partial(_offers, parameters=parameters, shown=shown))
        except (psycopg2.Error, OffersDropped) as error:
            if isinstance(error, LockNotAvailable) or of_the_database(error):
                raise
            if not (isinstance(error, OffersDropped) or refuses_a_row(error)):
                raise
            refusal = error
    offered = [entry["lawyer_id"] for entry in matched.considered if entry["offered"]]
    refused = [lawyer for lawyer in offered if not _taken(connection, matched, lawyer)]
    if not refused or (no_partition(refusal) and refused == offered):
        raise refusal
    raise LawyersRefused(refused, error_kind(refusal)) from None


def _parameters(matched: MatchedCase, deltas: list[Delta]) -> dict[str, object]:
    names, labels, values = columns(deltas)
    ranker = matched.ranker
    return vars(matched) | {
        "considered": as_json(matched.considered),
        "weights_used": ranker.weights_used(matched.preset, matched.complexity),
        "ranker": ranker.kind,
        "model_version": ranker.version,
        "life_experiment": matched.life.experiment,
        "life_arm": matched.life.arm,
        "life_phase": matched.life.phase,
        "preset": matched.preset if ranker.model is None else None,
        "metric_names": names,
        "metric_labels": labels,
        "metric_values": values,
    }


def _offers(cursor: Cursor, parameters: Mapping[str, object], shown: bool) -> int:
    """Raises OffersDropped, with which the transaction must end."""
    cursor.execute(_EXECUTE, {**parameters, "shown": shown})
    made, chosen = cursor.fetchone()
    if made < chosen:
        raise OffersDropped(f"the marketplace took {made} of {chosen} offers and said nothing of the others")
    return int(made)


def _taken(connection: Connection, matched: MatchedCase, lawyer: str) -> bool:
    """Whether the marketplace takes an offer for one lawyer alone; nothing is left of the trial."""
    alone = [entry for entry in matched.considered if entry["lawyer_id"] == lawyer]
    parameters = _parameters(replace(matched, considered=alone), [])
    try:
        with connection.cursor() as cursor:
            _offers(cursor, parameters, shown=False)
        return True
    except (psycopg2.Error, OffersDropped) as error:
        if not (isinstance(error, OffersDropped) or refuses_a_row(error)):
            raise
        return False
    finally:
        connection.rollback()


def record_failure(cursor: Cursor, case_id: str, reason: str, as_of: datetime) -> bool:
    """One more failed try of a case; True when the team was told, now or before."""
    cursor.execute(
        sql(PACKAGE, "failed.sql"),
        {
            "case": case_id,
            "reason": reason[:1000],
            "at": as_of,
            "retry": RETRY,
            "told": RETRY_TOLD,
            "attempts": ATTEMPTS,
        },
    )
    dead, first = cursor.fetchone()
    if dead:
        notify_failed(cursor, case_id, first, as_of)
    return bool(dead)


def notify_failed(cursor: Cursor, case_id: str, since: datetime, as_of: datetime) -> None:
    """The team hears once of a case that cannot be matched."""
    key = f"case_failed:{case_id}:{since.timestamp():.0f}"
    put(cursor, [Message("case_failed", TEAM, key, {"case_id": case_id, "since": since.isoformat()})], as_of)
