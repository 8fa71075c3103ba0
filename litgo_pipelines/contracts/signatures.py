"""Envelope outcomes: signed, declined or voided; and envelopes that must not be signed any more.

Knows the database and the client, not Dagster. Each envelope is looked at by itself and its news written in one
transaction; a look that fails changes nothing and is repeated.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg2

from litgo_pipelines.contracts import records
from litgo_pipelines.database import Connection, Cursor, in_transaction
from litgo_pipelines.resources.docusign import ENDED, DocuSign, Envelope
from litgo_pipelines.resources.external_service import CircuitOpen, ServiceFailure

# DocuSign asks for at most one look at an envelope in 15 minutes.
INTERVALS = (timedelta(minutes=15), timedelta(minutes=30), timedelta(hours=1))  # after the first look, the second …
VOIDED_FOR_MANUAL = "Contrato em assinatura manual: este envelope foi substituído."
VOIDED_FOR_CANCELED = "Contrato cancelado na plataforma LITGO."
VOIDED_SURPLUS = "Envelope duplicado: assine o outro envelope deste contrato."


@dataclass(frozen=True)
class Due:
    """A request whose envelope, known or possible, is to be looked at."""

    contract_id: str
    transaction_id: str
    envelope_id: str | None  # None: one may have been created without our knowing
    requested_at: datetime
    checks: int


@dataclass
class Result:
    """What a run came to. `outcomes`: signed, partly, open, declined, voided, canceled, none (to void), failed."""

    as_of: datetime
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)  # contract → kind of failure
    stopped: bool = False  # the breaker is open


def look_at_envelopes(
    connection: Connection,
    docusign: DocuSign,
    as_of: datetime,
    *,
    limit: int,
    warn: Callable[[str], None] = lambda message: None,
) -> Result:
    """Look at what is due as of the instant, longest due first, at most `limit`. `connection`: in no transaction.

    Runs beside each other take different envelopes. Raises what the database raised when the connection is gone.
    """
    if as_of.tzinfo is None:
        raise ValueError(f"as_of must name its zone or offset: {as_of.isoformat()}")
    result = Result(as_of)
    for _ in range(limit):
        due = in_transaction(connection, lambda cursor: _next(cursor, as_of))
        if due is None:
            break
        try:
            outcome = _look(connection, docusign, due, as_of, warn)
        except ServiceFailure as failure:
            result.failures[due.contract_id], outcome = failure.reason, "failed"
            warn(f"contract {due.contract_id}: {failure}")
            result.stopped = isinstance(failure, CircuitOpen)
        except Exception as error:
            if connection.closed or isinstance(error, psycopg2.InterfaceError):
                raise
            result.failures[due.contract_id], outcome = type(error).__name__, "failed"
            warn(f"contract {due.contract_id}: {type(error).__name__}")
        result.outcomes[outcome] += 1
        if result.stopped:
            break
    return result


def _next(cursor: Cursor, as_of: datetime) -> Due | None:
    """Take the one that is longest due; it is due again later, also when we are killed before the look is over."""
    cursor.execute(NEXT, {"as_of": as_of, "later": as_of + INTERVALS[0]})
    row = cursor.fetchone()
    return row and Due(*row)


def _look(connection: Connection, docusign: DocuSign, due: Due, as_of: datetime, warn: Callable[[str], None]) -> str:
    if due.envelope_id is None:
        return _look_for_lost(connection, docusign, due, as_of, warn)
    if due.checks == 0:
        _void_surplus(connection, docusign, due, as_of)
    envelope = docusign.read(due.envelope_id)
    with connection, connection.cursor() as cursor:
        contract = records.locked(cursor, due.contract_id)
    if (contract is None or contract.status == "canceled") and envelope.status not in (*ENDED, "completed"):
        _void(connection, docusign, due, due.envelope_id, VOIDED_FOR_CANCELED, as_of)
        in_transaction(connection, lambda cursor: _settle(cursor, due, as_of, True, "canceled"))
        return "canceled"
    return _write(connection, due, envelope, as_of, warn)


def _write(connection: Connection, due: Due, envelope: Envelope, as_of: datetime, warn: Callable[[str], None]) -> str:
    return in_transaction(connection, lambda cursor: _apply(cursor, due, envelope, as_of, warn))


def _apply(cursor: Cursor, due: Due, envelope: Envelope, as_of: datetime, warn: Callable[[str], None]) -> str:
    """Write an envelope's news, if the contract still waits for them."""
    contract = records.locked(cursor, due.contract_id)
    over = envelope.status in (*ENDED, "completed")
    if contract is None or contract.status != "pending-signature":
        status = "signed" if contract and contract.status in ("active", "closed") else "canceled"
        if over:
            event = f"{envelope.status}_meanwhile:{envelope.envelope_id}"
            records.event(cursor, due.contract_id, event, as_of, "docusign", contract=contract and contract.status)
            if envelope.status == "completed":
                warn(f"contract {due.contract_id} was signed in DocuSign although it is {status}: tell both parties")
        _settle(cursor, due, as_of, over or status == "signed", status)
        return status
    if envelope.status in ENDED:
        records.cancel(cursor, contract, envelope.status, as_of)
        records.event(cursor, due.contract_id, envelope.status, as_of, "docusign", envelope_id=envelope.envelope_id)
        return envelope.status
    signed = {
        party: envelope.signed[place] for place, party in enumerate(records.PARTIES, 1) if place in envelope.signed
    }
    for party, instant in signed.items():
        details = {"signed_at": instant.isoformat(), "envelope_id": envelope.envelope_id}
        records.event(cursor, due.contract_id, f"signed:{party}", as_of, "docusign", **details)
    active = records.sign(cursor, contract, signed, as_of)
    _settle(cursor, due, as_of, active)
    return "signed" if active else "partly" if signed else "open"


def _look_for_lost(
    connection: Connection, docusign: DocuSign, due: Due, as_of: datetime, warn: Callable[[str], None]
) -> str:
    """A contract that is not DocuSign's: whatever envelope was created for it all the same is voided.

    Unless both have signed it by then: then that counts, where nothing else was signed before.
    """
    outcome = "none"
    for envelope in docusign.find(due.transaction_id, due.requested_at):
        if envelope.status == "completed":
            outcome = _write(connection, due, docusign.read(envelope.envelope_id), as_of, warn)
        elif envelope.status not in ENDED:
            _void(connection, docusign, due, envelope.envelope_id, VOIDED_FOR_MANUAL, as_of)
            outcome = "voided"
    in_transaction(connection, lambda cursor: _settle(cursor, due, as_of, True))
    return outcome


def _void_surplus(connection: Connection, docusign: DocuSign, due: Due, as_of: datetime) -> None:
    """Two senders may have been at work when a claim ran out: of their envelopes only the one we know is signed."""
    for envelope in docusign.find(due.transaction_id, due.requested_at):
        if envelope.envelope_id != due.envelope_id and envelope.status not in (*ENDED, "completed"):
            _void(connection, docusign, due, envelope.envelope_id, VOIDED_SURPLUS, as_of)


def _void(connection: Connection, docusign: DocuSign, due: Due, envelope_id: str, reason: str, as_of: datetime) -> None:
    docusign.void(envelope_id, reason)
    in_transaction(
        connection,
        lambda cursor: records.event(cursor, due.contract_id, f"envelope_voided:{envelope_id}", as_of, reason=reason),
    )


def _settle(cursor: Cursor, due: Due, as_of: datetime, over: bool, status: str | None = None) -> None:
    interval = INTERVALS[min(due.checks, len(INTERVALS) - 1)]
    parameters: Mapping[str, Any] = {
        "contract": due.contract_id,
        "status": status,
        "next": None if over else as_of + interval,
    }
    cursor.execute(SETTLE, parameters)


NEXT = """
UPDATE litgo.contract_requests SET next_check_at = %(later)s
WHERE contract_id = (
    SELECT contract_id FROM litgo.contract_requests
    WHERE (next_check_at <= %(as_of)s OR next_check_at > %(as_of)s + interval '25 hours') AND status <> 'refused'
    ORDER BY next_check_at, contract_id LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING contract_id::text, transaction_id::text, envelope_id, requested_at, checks
"""
SETTLE = """
UPDATE litgo.contract_requests
SET checks = checks + 1, next_check_at = %(next)s, status = coalesce(%(status)s, status)
WHERE contract_id = %(contract)s
"""
