"""Envelope outcomes: signed, declined or voided; and envelopes that must not be signed any more.

Knows the database and the client, not Dagster. Each envelope is looked at by itself and its news written in one
transaction; a look that fails is repeated after a growing pause. What cannot be signed in DocuSign any more, or was not
by its due date, is signed on paper.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from litgo_pipelines.contracts import paper, parties, records
from litgo_pipelines.database import Connection, Cursor, in_transaction, of_the_database, sql
from litgo_pipelines.notifications.outbox import TEAM
from litgo_pipelines.resources.docusign import ENDED, DocuSign, Envelope, EnvelopeGone
from litgo_pipelines.resources.external_service import (
    CircuitOpen,
    PermanentFailure,
    ServiceFailure,
    TransientFailure,
)

T = TypeVar("T")
# DocuSign asks for at most one look at an envelope in 15 minutes.
INTERVALS = (timedelta(minutes=15), timedelta(minutes=30), timedelta(hours=1))  # after the first look, the second …
LONGEST_PAUSE = timedelta(hours=24)  # between looks that fail
FAILS_TOLD = 4  # failed looks in a row, then the team is told; at once where only a person can help
UNREACHABLE = timedelta(days=1)  # after the due date, when DocuSign cannot even be asked
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
    failed_looks: int
    due_at: datetime | None  # None: of before there was one
    reminded: bool
    signers: list[str] | None  # digests, by place

    def due(self, signing: timedelta) -> datetime:
        return self.due_at or self.requested_at + signing


@dataclass
class SignaturesResult:
    """What a run came to. `outcomes`: signed, partly, open, declined, voided, canceled, paper, none (to void), failed;
    `signing`: how long an envelope, or a signature on paper, may take."""

    as_of: datetime
    signing: timedelta = timedelta(days=7)
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)  # contract → kind of failure
    stopped: bool = False  # the breaker is open, or a limit reached


def look_at_envelopes(
    connection: Connection,
    docusign: DocuSign,
    as_of: datetime,
    *,
    limit: int,
    signing_days: int = 7,
    warn: Callable[[str], None] = lambda message: None,
) -> SignaturesResult:
    """Look at what is due as of the instant, longest due first, at most `limit`. `connection`: in no transaction.

    Runs beside each other take different envelopes. Raises what the database raised when the connection is gone.
    """
    if as_of.tzinfo is None:
        raise ValueError(f"as_of must name its zone or offset: {as_of.isoformat()}")
    result = SignaturesResult(as_of, timedelta(days=signing_days))
    work = _Look(connection, docusign, result, warn)
    with connection, connection.cursor() as cursor:
        cursor.execute(records.LOCK_TIMEOUT)
    for _ in range(limit):
        due = in_transaction(connection, lambda cursor: _next(cursor, as_of))
        if due is None:
            break
        try:
            outcome = work.at(due)
        except ServiceFailure as failure:
            warn(f"contract {due.contract_id}: {failure}")
            result.failures[due.contract_id], outcome = failure.reason, work.failed(due, failure)
            result.stopped = isinstance(failure, CircuitOpen) or failure.limit_reached
        except Exception as error:
            if connection.closed or of_the_database(error):
                raise
            warn(f"contract {due.contract_id}: {type(error).__name__}")
            result.failures[due.contract_id], outcome = type(error).__name__, work.failed(due, None)
        result.outcomes[outcome] += 1
        if result.stopped:
            break
    return result


def _next(cursor: Cursor, as_of: datetime) -> Due | None:
    """Take the one that is longest due; it is due again later, also when we are killed before the look is over."""
    cursor.execute(NEXT, {"as_of": as_of, "later": as_of + INTERVALS[0]})
    row = cursor.fetchone()
    return row and Due(*row)


@dataclass
class _Look:
    connection: Connection
    docusign: DocuSign
    result: SignaturesResult
    warn: Callable[[str], None]

    def at(self, due: Due) -> str:
        """Look at one envelope, and write what it came to. Raises ServiceFailure."""
        if due.envelope_id is None:
            return self._for_lost(due)
        if due.checks == 0:
            self._void_surplus(due)
        try:
            envelope = self.docusign.read(due.envelope_id)
        except EnvelopeGone as gone:
            return self._missing(due, gone)
        with self.connection, self.connection.cursor() as cursor:
            contract = records.locked(cursor, due.contract_id)
            replaced = parties.replaced(cursor, due.contract_id, envelope.signers, due.signers)
        open_ = envelope.status not in (*ENDED, "completed")
        if (contract is None or contract.status == "canceled") and open_:
            self._void(due, due.envelope_id, VOIDED_FOR_CANCELED)
            self._write(lambda cursor: _settle(cursor, due, self.result.as_of, True, "canceled"))
            return "canceled"
        why = trouble(envelope, replaced, overdue=paper.day_end(due.due(self.result.signing)) <= self.result.as_of)
        if why and contract and contract.status == "pending-signature":
            if open_:
                self._void(due, due.envelope_id, VOIDED_FOR_MANUAL)
            return self._to_paper(due, why, envelope=envelope)
        return self._write(lambda cursor: self._apply(cursor, due, envelope))

    def failed(self, due: Due, failure: ServiceFailure | None) -> str:
        """A look that came to nothing: repeated after a growing pause, told, and long after the due date on paper."""
        as_of = self.result.as_of
        waited = timedelta(seconds=(failure.retry_after or 0.0) if failure else 0.0)
        pause = max(INTERVALS[0] * 2 ** min(due.failed_looks, 10), waited)
        if isinstance(failure, CircuitOpen) or (failure and failure.limit_reached):
            pause = max(INTERVALS[0], waited)  # says nothing of this envelope

        def write(cursor: Cursor) -> None:
            next_look = as_of + min(pause, LONGEST_PAUSE)
            cursor.execute(FAILED, {"contract": due.contract_id, "next": next_look})
            if isinstance(failure, PermanentFailure) or due.failed_looks + 1 >= FAILS_TOLD:
                code = (failure.code or failure.reason) if failure else "error"
                records.docusign_fails(cursor, code, as_of)

        self._write(write)
        if due.envelope_id and due.due(self.result.signing) + UNREACHABLE <= as_of:
            return self._to_paper(due, "docusign_unreachable", look=as_of + INTERVALS[-1])
        return "failed"

    def _missing(self, due: Due, gone: EnvelopeGone) -> str:
        """DocuSign does not know the envelope. That it knows none of the contract's says that it was asked rightly."""
        listed = self.docusign.find(due.transaction_id, due.requested_at)
        if any(each.envelope_id == due.envelope_id for each in listed):
            raise TransientFailure("invalid", "an envelope that is listed, and yet is not there", status=gone.status)
        for each in listed:
            if each.status not in (*ENDED, "completed"):
                self._void(due, each.envelope_id, VOIDED_FOR_MANUAL)
        return self._to_paper(due, "envelope_missing")

    def _to_paper(self, due: Due, why: str, *, envelope: Envelope | None = None, look: datetime | None = None) -> str:
        """From now on it is signed by hand. `look`: when to look for an envelope that may be signed all the same."""

        def write(cursor: Cursor) -> str:
            contract = records.locked(cursor, due.contract_id)
            if contract is None or contract.status != "pending-signature":
                if envelope:
                    return self._apply(cursor, due, envelope)
                status = "signed" if contract and contract.status in ("active", "closed") else "canceled"
                if look is None:  # there is no envelope that could be looked at again
                    _settle(cursor, due, self.result.as_of, True, status)
                return status
            until = self.result.as_of + self.result.signing
            paper.move(cursor, contract, why, self.result.as_of, until=until, envelope=due.envelope_id, look=look)
            return "paper"

        return self._write(write)

    def _write(self, work: Callable[[Cursor], T]) -> T:
        return in_transaction(self.connection, work)

    def _apply(self, cursor: Cursor, due: Due, envelope: Envelope) -> str:
        """Write an envelope's news, if the contract still waits for them."""
        as_of, contract = self.result.as_of, records.locked(cursor, due.contract_id)
        over = envelope.status in (*ENDED, "completed")
        if contract is None or contract.status != "pending-signature":
            return self._afterwards(cursor, due, envelope, contract)
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
        _settle(cursor, due, as_of, active or over)
        due_at = due.due(self.result.signing)
        if due.envelope_id and not active and not due.reminded and paper.is_near(due.requested_at, due_at, as_of):
            missing = [party for party in records.PARTIES if party not in signed]
            paper.remind_of_envelope(cursor, contract, missing, due_at, as_of)
        return "signed" if active else "partly" if signed else "open"

    def _afterwards(self, cursor: Cursor, due: Due, envelope: Envelope, contract: records.Contract | None) -> str:
        """News of an envelope whose contract waits for none any more."""
        as_of, over = self.result.as_of, envelope.status in (*ENDED, "completed")
        status = "signed" if contract and contract.status in ("active", "closed") else "canceled"
        if over:
            event = f"{envelope.status}_meanwhile:{envelope.envelope_id}"
            records.event(cursor, due.contract_id, event, as_of, "docusign", contract=contract and contract.status)
            if envelope.status == "completed" and status == "canceled":
                self.warn(f"contract {due.contract_id} was signed in DocuSign although it is canceled: both are told")
                about = f"{due.contract_id}:signed"
                people = (contract.client_id, contract.lawyer_id, TEAM) if contract else (TEAM,)
                records.notify(cursor, "contract_voided", due.contract_id, people, as_of, about=about, reason="signed")
        _settle(cursor, due, as_of, over or status == "signed", status)
        return status

    def _for_lost(self, due: Due) -> str:
        """A contract that is not DocuSign's: whatever envelope was created for it all the same is voided.

        Unless both have signed it by then: then that counts, where nothing else was signed before.
        """
        outcome = "none"
        for envelope in self.docusign.find(due.transaction_id, due.requested_at):
            if envelope.status == "completed":
                outcome = self._completed_meanwhile(due, self.docusign.read(envelope.envelope_id))
            elif envelope.status not in ENDED:
                self._void(due, envelope.envelope_id, VOIDED_FOR_MANUAL)
                outcome = "voided"
        self._write(lambda cursor: _settle(cursor, due, self.result.as_of, True))
        return outcome

    def _completed_meanwhile(self, due: Due, envelope: Envelope) -> str:
        def write(cursor: Cursor) -> str:
            if parties.replaced(cursor, due.contract_id, envelope.signers, due.signers):
                event = f"completed_by_others:{envelope.envelope_id}"
                records.event(cursor, due.contract_id, event, self.result.as_of, "docusign")
                return "none"
            return self._apply(cursor, due, envelope)

        return self._write(write)

    def _void_surplus(self, due: Due) -> None:
        """Two senders may have been at work when a claim ran out: of their envelopes only the one we know is signed."""
        for envelope in self.docusign.find(due.transaction_id, due.requested_at):
            if envelope.envelope_id != due.envelope_id and envelope.status not in (*ENDED, "completed"):
                self._void(due, envelope.envelope_id, VOIDED_SURPLUS)

    def _void(self, due: Due, envelope_id: str, reason: str) -> None:
        try:
            self.docusign.void(envelope_id, reason)
        except EnvelopeGone:
            return  # nobody can sign it, which is what was wanted
        event, as_of = f"envelope_voided:{envelope_id}", self.result.as_of
        self._write(lambda cursor: records.event(cursor, due.contract_id, event, as_of, reason=reason))


def trouble(envelope: Envelope, replaced: bool, *, overdue: bool) -> str | None:
    """Why the contract is to be signed on paper instead, one of PAPER_REASONS; None: it is not. Pure."""
    bounced = any(signer.bounced for signer in envelope.signers.values())
    declined = any(signer.declined for signer in envelope.signers.values())
    match envelope.status:
        case "completed":
            return "recipients_replaced" if replaced else None
        case "declined":
            return "email_bounced" if bounced and not declined else None
        case "deleted":
            return "envelope_deleted"
        case "voided" | "timedout":
            return "not_signed" if envelope.expired else None
    if bounced:
        return "email_bounced"
    if replaced:
        return "recipients_replaced"
    return "not_signed" if overdue else None


def _settle(cursor: Cursor, due: Due, as_of: datetime, over: bool, status: str | None = None) -> None:
    interval = INTERVALS[min(due.checks, len(INTERVALS) - 1)]
    parameters: Mapping[str, Any] = {
        "contract": due.contract_id,
        "status": status,
        "next": None if over else as_of + interval,
    }
    cursor.execute(SETTLE, parameters)


NEXT = sql("litgo_pipelines.contracts", "next_due.sql")
SETTLE = """
UPDATE litgo.contract_requests
SET checks = checks + 1, failed_looks = 0, next_check_at = %(next)s, status = coalesce(%(status)s, status)
WHERE contract_id = %(contract)s
"""
FAILED = """
UPDATE litgo.contract_requests SET failed_looks = failed_looks + 1, next_check_at = %(next)s
WHERE contract_id = %(contract)s
"""
