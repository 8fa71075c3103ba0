"""Signature requests: render the document and send it through DocuSign, or fall back to a manual signature.

Knows the database and the client, not Dagster. One transaction before the call (the claim, with the document) and one
after it, so that whoever is killed in between leaves a row that says what may have happened.
"""

import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg2
from psycopg2.errors import LockNotAvailable

from litgo_pipelines.contracts import paper, parties, records
from litgo_pipelines.contracts.document import ZONE, NotRenderable, Terms, anchors, render
from litgo_pipelines.database import Connection, Cursor, error_kind, in_transaction, of_the_database, sql
from litgo_pipelines.notifications.addresses import usable
from litgo_pipelines.notifications.outbox import TEAM
from litgo_pipelines.observability.metrics import add, count
from litgo_pipelines.resources.docusign import DocuSign, Draft, Signer
from litgo_pipelines.resources.external_service import ServiceFailure

PACKAGE = "litgo_pipelines.contracts"
OLDEST = timedelta(days=30)  # an older contract that nobody handled is not sent by surprise
LEASE_SLACK = 30.0  # seconds after the client's deadline
FIRST_CHECK = timedelta(minutes=5)
LASTS_LONGER = 3  # days beyond the due date, then DocuSign ends an envelope by itself
REASONS = {
    "no_offer": "sem oferta aceita por este(a) advogado(a) para o caso",
    "created_unknown": "data de criação inválida",
    "reopened": "tinha terminado e voltou a esperar assinatura: o documento de antes não vale",
    "own_case": "cliente e advogado(a) são a mesma pessoa",
    "second_contract": "o caso já tem outro contrato em aberto",
    "too_old": f"criado há mais de {OLDEST.days} dias",
    "fee_model_unknown": "modelo de honorários desconhecido",
    "fee_value_invalid": "valor dos honorários inválido",
    "fee_two_figures": "dois valores de honorários",
    "client_missing": "nome do cliente não informado",
    "lawyer_missing": "nome do(a) advogado(a) não informado",
    "oab_missing": "número da OAB não informado",
    "letters_not_printable": "nome com letras que o documento não mostra",
    "failed": "erro ao preparar o documento",
}


@dataclass(frozen=True)
class Pending:
    """A row of `pending.sql`."""

    contract_id: str
    client_id: str
    lawyer_id: str
    status: str
    fee_model: Any
    created_at: datetime | None
    client_name: str | None
    client_email: str | None
    lawyer_name: str | None
    lawyer_email: str | None
    oab: str | None
    title: str | None
    area: str | None
    offer_status: str | None
    request_status: str | None
    has_document: bool
    same_person: bool  # an account of the lawyer's is the client
    second: bool  # the case has an earlier contract that is open


@dataclass
class RequestsResult:
    """What a run came to. `failures`: contract → kind of error; `raised`: with fallbacks off, DocuSign's failures."""

    as_of: datetime
    outcomes: Counter[str] = field(default_factory=Counter)  # docusign, manual, refused, canceled, elsewhere, failed
    failures: dict[str, str] = field(default_factory=dict)
    raised: list[ServiceFailure] = field(default_factory=list)


def pending(cursor: Cursor, as_of: datetime, limit: int) -> list[Pending]:
    # Every join but the first is by a key. Trying their orders takes ten times as long as the rest of planning.
    cursor.execute("SET LOCAL join_collapse_limit = 1")
    cursor.execute(sql(PACKAGE, "pending.sql"), {"as_of": as_of, "limit": limit})
    return [Pending(*row) for row in cursor.fetchall()]


def waiting(cursor: Cursor, as_of: datetime) -> tuple[int, int]:
    """How many contracts wait to be requested, and how many envelopes to be looked at, each counted to 1,000."""
    cursor.execute(
        f"SELECT (SELECT count(*) FROM ({sql(PACKAGE, 'pending.sql')}) AS new), (SELECT count(*) FROM (SELECT FROM "
        "litgo.contract_requests WHERE (next_check_at <= %(as_of)s OR next_check_at > %(as_of)s + interval '25 hours') "
        "AND status <> 'refused' LIMIT %(limit)s) AS due)",
        {"as_of": as_of, "limit": 1000},
    )
    return cursor.fetchone()


def pending_contracts(cursor: Cursor) -> int:
    """`pending_contracts_count`: contracts that wait for signatures."""
    cursor.execute("SELECT count(*) FROM contracts WHERE status = 'pending-signature'")
    return cursor.fetchone()[0]


def refused(cursor: Cursor, limit: int = 50) -> list[tuple[str, str]]:
    """(contract, reason) of the contracts that wait for somebody to mend them, newest first."""
    cursor.execute(
        "SELECT r.contract_id::text, r.reason FROM litgo.contract_requests r JOIN contracts c ON c.id = r.contract_id "
        "WHERE r.status = 'refused' AND c.status = 'pending-signature' ORDER BY r.requested_at DESC, 1 LIMIT %s",
        (limit,),
    )
    return cursor.fetchall()


def transaction_id(contract_id: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"litgo:contract:{contract_id}"))


def request_signatures(
    connection: Connection,
    docusign: DocuSign,
    as_of: datetime,
    *,
    limit: int,
    signing_days: int,
    warn: Callable[[str], None] = lambda message: None,
) -> RequestsResult:
    """Bring what is pending as of the instant to signature, at most `limit` contracts; remind of signatures by hand.

    `connection`: in no transaction. Runs beside each other take different contracts. One that fails does not hold up
    the others. Raises what the database raised when the connection is gone.
    """
    if as_of.tzinfo is None:
        raise ValueError(f"as_of must name its zone or offset: {as_of.isoformat()}")
    work = _Work(connection, docusign, RequestsResult(as_of), timedelta(days=signing_days))
    with connection, connection.cursor() as cursor:
        cursor.execute(records.LOCK_TIMEOUT)
        todo = pending(cursor, as_of, limit)
    for each in todo:
        try:
            outcome = work.one(each)
        except ServiceFailure as failure:
            work.result.raised.append(failure)
            outcome = "failed"
            work.result.failures[each.contract_id] = failure.reason
        except LockNotAvailable:  # somebody holds the contract's row: its turn comes again
            outcome = "elsewhere"
        except Exception as error:  # whatever one contract brings about is its own affair
            if connection.closed or of_the_database(error):
                raise
            outcome = "failed"
            work.result.failures[each.contract_id] = error_kind(error)
            warn(f"contract {each.contract_id} failed: {error_kind(error)}")
            work.refuse(each, "failed")
        work.result.outcomes[outcome] += 1
    in_transaction(connection, lambda cursor: paper.remind(cursor, as_of))
    return work.result


@dataclass
class _Work:
    connection: Connection
    docusign: DocuSign
    result: RequestsResult
    signing: timedelta

    def one(self, each: Pending) -> str:
        again = each.request_status == "sending"
        token, pdf = str(uuid.uuid4()), None
        if not again:
            if reason := _refusal(each, self.result.as_of):
                return self.refuse(each, reason)
            try:
                pdf = render(terms(each, self.result.as_of))
            except NotRenderable as error:
                return self.refuse(each, error.reason)
        claimed = in_transaction(self.connection, lambda cursor: self._claim(cursor, each, token, pdf))
        if claimed is None:
            return "elsewhere"
        if again and each.status != "pending-signature":
            return self._finish(each, token, None, None)
        if not self.docusign.configured:
            return self._finish(each, token, None, "not_configured")
        if not all(map(parties.email, (each.client_email, each.lawyer_email))):
            return self._finish(each, token, None, "no_email")
        if parties.share_a_mailbox(each.client_email, each.lawyer_email):
            return self._finish(each, token, None, "same_email")
        draft = self._draft(each, *claimed)
        envelope, reason = self.docusign.service.with_fallback(
            lambda: (self.docusign.send(draft, look_first=again), None), lambda failure: (None, failure.reason)
        )
        return self._finish(each, token, envelope, reason)

    def refuse(self, each: Pending, reason: str) -> str:
        """Not sent: shown with the reason, and looked at again after 1, 2, 4 … 24 hours."""

        def write(cursor: Cursor) -> None:
            cursor.execute(
                REFUSE,
                {
                    "contract": each.contract_id,
                    "transaction": transaction_id(each.contract_id),
                    "reason": reason,
                    "at": self.result.as_of,
                },
            )
            if cursor.rowcount:
                records.event(cursor, each.contract_id, f"refused:{reason}", self.result.as_of)
                people = (each.client_id, each.lawyer_id, TEAM)
                about = f"{each.contract_id}:{reason}"
                records.notify(
                    cursor, "contract_refused", each.contract_id, people, self.result.as_of, about=about, reason=reason
                )

        in_transaction(self.connection, write)
        return "refused"

    def _claim(self, cursor: Cursor, each: Pending, token: str, pdf: bytes | None) -> tuple[bytes, datetime] | None:
        """(document, its instant); None when somebody else has the contract, or it is no longer to be signed."""
        parameters = {
            "contract": each.contract_id,
            "transaction": transaction_id(each.contract_id),
            "claim": token,
            "at": self.result.as_of,
            "lease": self.docusign.deadline_seconds + LEASE_SLACK,
        }
        cursor.execute(CLAIM if pdf is not None else CLAIM_AGAIN, parameters)
        if not cursor.rowcount:
            return None
        if pdf is not None:
            cursor.execute(
                "INSERT INTO litgo.contract_documents (contract_id, pdf, sha256, created_at) "
                "VALUES (%(contract)s, %(pdf)s, encode(sha256(%(pdf)s), 'hex'), %(at)s)",
                {**parameters, "pdf": psycopg2.Binary(pdf)},
            )
            records.event(cursor, each.contract_id, "requested", self.result.as_of)
        cursor.execute(
            "SELECT pdf, created_at FROM litgo.contract_documents WHERE contract_id = %s", (each.contract_id,)
        )
        document, at = cursor.fetchone()
        return bytes(document), at

    def _draft(self, each: Pending, pdf: bytes, at: datetime) -> Draft:
        people = ((each.client_name, each.client_email), (each.lawyer_name, each.lawyer_email))
        return Draft(
            transaction_id=transaction_id(each.contract_id),
            subject="Contrato de honorários para assinatura – LITGO",
            blurb="Olá! Seu contrato de prestação de serviços advocatícios está pronto. Leia o documento com atenção e "
            "assine-o eletronicamente.",
            document_name=f"contrato-{at.astimezone(ZONE):%d-%m-%Y}.pdf",
            pdf=pdf,
            signers=[
                Signer(parties.name(name), usable(email) or "", anchor)
                for (name, email), anchor in zip(people, anchors(each.contract_id), strict=True)
            ],
            since=at,
            lasts_days=self.signing.days + LASTS_LONGER,
        )

    def _finish(self, each: Pending, token: str, envelope: str | None, reason: str | None) -> str:
        """Write what the call came to, unless the claim ran out and somebody else has taken over."""
        as_of = self.result.as_of
        # After a failure an envelope may be there all the same: it is looked for, and voided.
        look = as_of + FIRST_CHECK if envelope or self.docusign.configured else None

        def write(cursor: Cursor) -> str:
            contract = records.locked(cursor, each.contract_id)
            wanted = contract is not None and contract.status == "pending-signature"
            outcome, status = ("docusign", "sent") if envelope else ("manual",) * 2 if wanted else ("canceled",) * 2
            due = as_of + self.signing
            cursor.execute(
                FINISH,
                {
                    "contract": each.contract_id,
                    "claim": token,
                    "status": status,
                    "reason": reason,
                    "method": None if outcome == "canceled" else outcome,
                    "envelope": envelope,
                    "due": None if outcome == "canceled" else due,
                    "signers": _digests(each) if envelope else None,
                    "look": look,
                },
            )
            if not cursor.rowcount:
                return "elsewhere"
            records.event(cursor, each.contract_id, status, as_of, reason=reason, envelope_id=envelope)
            people = (each.client_id, each.lawyer_id)
            if outcome != "canceled":
                add(cursor, [count("contract_creation_method_total", method=outcome)])
            if outcome == "docusign" and wanted:
                records.notify(
                    cursor,
                    "contract_to_sign",
                    each.contract_id,
                    people,
                    as_of,
                    due_at=due.isoformat(),
                )
            elif outcome == "manual":
                records.notify(
                    cursor,
                    "contract_manual",
                    each.contract_id,
                    (*people, TEAM),
                    as_of,
                    due_at=due.isoformat(),
                    reason=reason or "",
                )
            return outcome

        return in_transaction(self.connection, write)


def terms(each: Pending, at: datetime) -> Terms:
    return Terms(
        each.contract_id, each.client_name, each.lawyer_name, each.oab, each.title, each.area, each.fee_model, at
    )


def _refusal(each: Pending, as_of: datetime) -> str | None:
    if each.request_status in ("canceled", "signed") or (each.has_document and each.request_status != "sending"):
        return "reopened"
    if each.offer_status not in ("interested", "closed"):
        return "no_offer"
    if each.created_at is None or each.created_at > as_of + timedelta(days=1):
        return "created_unknown"
    if each.same_person:
        return "own_case"
    if each.second:
        return "second_contract"
    if each.created_at < as_of - OLDEST:
        return "too_old"
    return None


def _digests(each: Pending) -> list[str]:
    people = ((each.client_name, each.client_email), (each.lawyer_name, each.lawyer_email))
    return [parties.digest(each.contract_id, name or "", usable(email) or "") for name, email in people]


REFUSE = sql(PACKAGE, "refuse.sql")
CLAIM = sql(PACKAGE, "claim.sql")
CLAIM_AGAIN = """
UPDATE litgo.contract_requests
SET claim = %(claim)s, claimed_until = clock_timestamp() + %(lease)s * interval '1 second'
WHERE contract_id = %(contract)s AND status = 'sending'
  AND (claimed_until <= clock_timestamp() OR claimed_until > clock_timestamp() + interval '2 hours')
"""
FINISH = """
UPDATE litgo.contract_requests
SET status = %(status)s, method = %(method)s, reason = %(reason)s, envelope_id = %(envelope)s, due_at = %(due)s,
    signers = %(signers)s, claim = NULL, claimed_until = NULL, checks = 0, next_check_at = %(look)s
WHERE contract_id = %(contract)s AND claim = %(claim)s
"""
