"""Paper signatures, recorded by a person: open tasks, document, record. User-facing messages are in Portuguese.

Knows the database, not Dagster. How the person works is in docs/manual-contracts.md.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from litgo_pipelines.contracts import records
from litgo_pipelines.contracts.document import ZONE
from litgo_pipelines.database import Connection, Cursor, in_transaction, sql
from litgo_pipelines.marketplace.ids import identifier
from litgo_pipelines.observability.tables import markdown_table

SignedBy = Literal["client", "lawyer", "both"]
NAMES = {"client": "cliente", "lawyer": "advogado(a)"}


class SignatureError(ValueError):
    """A signature that cannot be recorded; the message says why, in Portuguese."""


@dataclass(frozen=True)
class Task:
    """A contract that waits for a signature on paper. `missing`: who has not signed."""

    contract_id: str
    due_at: datetime
    overdue: bool
    missing: tuple[records.Party, ...]
    reason: str | None


def open_tasks(cursor: Cursor, as_of: datetime, limit: int = 100) -> list[Task]:
    """What is to be signed by hand, the most urgent first."""
    cursor.execute(
        sql("litgo_pipelines.contracts", "tasks.sql"),
        {"as_of": as_of, "limit": limit},
    )
    return [
        Task(
            contract,
            due,
            overdue,
            tuple(party for party, waits in zip(records.PARTIES, (client, lawyer), strict=True) if waits),
            reason,
        )
        for contract, due, overdue, client, lawyer, reason in cursor.fetchall()
    ]


COLUMNS = ("contrato", "prazo", "falta assinar")


def cells(task: Task) -> tuple[str, ...]:
    """A row under COLUMNS."""
    due = f"{task.due_at.astimezone(ZONE):%d/%m/%Y}{' (vencido)' if task.overdue else ''}"
    return task.contract_id, due, ", ".join(NAMES[party] for party in task.missing)


@dataclass(frozen=True)
class Names:
    """Of a contract's parties, for who works on it; None where the marketplace has none."""

    client: str | None
    lawyer: str | None


def names_of(cursor: Cursor, tasks: list[Task]) -> dict[str, Names]:
    """By contract. They are shown to a person at the terminal, and go to no log and no metadata."""
    cursor.execute(
        "SELECT c.id::text, nullif(btrim(p.full_name), ''), nullif(btrim(l.name), '') FROM contracts c "
        "LEFT JOIN profiles p ON p.id = c.client_id LEFT JOIN lawyers l ON l.id = c.lawyer_id "
        "WHERE c.id = ANY(%s::uuid[])",
        ([task.contract_id for task in tasks],),
    )
    found = {contract: Names(client, lawyer) for contract, client, lawyer in cursor.fetchall()}
    return {task.contract_id: found.get(task.contract_id, Names(None, None)) for task in tasks}


def named(tasks: list[Task], names: dict[str, Names]) -> str:
    """The tasks with the parties' names, for a terminal."""
    if not tasks:
        return "nenhum contrato espera assinatura em papel"
    rows = [
        (names[task.contract_id].client or "–", names[task.contract_id].lawyer or "–", *cells(task)) for task in tasks
    ]
    return markdown_table(("cliente", "advogado(a)", *COLUMNS), rows)


def document(cursor: Cursor, contract_id: str, reader: str = records.PIPELINES, at: datetime | None = None) -> bytes:
    """The contract's PDF; that it was read, by whom and when, is kept with the contract. Raises SignatureError.

    `at`: the instant of reading, this one when None.
    """
    who, contract, at = " ".join(reader.split()), _contract(contract_id), at or datetime.now(UTC)
    if not who:
        raise SignatureError("diga quem lê o documento")
    cursor.execute("SELECT pdf FROM litgo.contract_documents WHERE contract_id = %s", (contract,))
    row = cursor.fetchone()
    if row is None:
        raise SignatureError(f"não há documento para o contrato {contract_id}")
    records.event(cursor, contract, f"document_read:{at.isoformat()}", at, who)
    return bytes(row[0])


def record_signature(
    connection: Connection,
    *,
    contract_id: str,
    signed_by: str,
    signed_at: str,
    recorded_by: str,
    sha256: str,
    as_of: datetime,
) -> str:
    """Record who signed the paper and when; says in Portuguese what came of it. `connection`: in no transaction.

    `signed_at`: ISO 8601 with a zone; `sha256`: of the file with the signatures, 64 hexadecimal digits. When both have
    signed, the contract is active, counted and told. The same once more changes nothing. Raises SignatureError for
    what is not as it must be, or differs from what is recorded.
    """
    contract_id, who = _contract(contract_id), " ".join(recorded_by.split())
    if signed_by not in get_args(SignedBy):
        raise SignatureError(f"signed_by={signed_by!r}: escreva client, lawyer ou both")
    if not who:
        raise SignatureError("diga quem registra (recorded_by)")
    digest = sha256.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise SignatureError("sha256: são 64 dígitos hexadecimais, como o comando sha256sum mostra")
    instant = _instant(signed_at, as_of)
    parties = [party for party in records.PARTIES if signed_by in (party, "both")]
    details = {"signed_at": instant.isoformat(), "sha256": digest, "recorded_by": who}

    def write(cursor: Cursor) -> str:
        contract = records.locked(cursor, contract_id)
        if contract is None:
            raise SignatureError(f"o contrato {contract_id} não existe")
        missing = [party for party in parties if not _recorded(cursor, contract_id, party, details)]
        if not missing:
            return f"contrato {contract_id}: já estava registrado assim, nada mudou"
        cursor.execute("SELECT status FROM litgo.contract_requests WHERE contract_id = %s", (contract_id,))
        status = (cursor.fetchone() or ("",))[0]
        if status != "manual":
            raise SignatureError(f"o contrato {contract_id} não está em assinatura manual")
        if contract.status != "pending-signature":
            raise SignatureError(f"o contrato {contract_id} não espera mais assinatura (status {contract.status})")
        if contract.created_at is not None and instant < contract.created_at:
            raise SignatureError("signed_at: a assinatura é anterior ao contrato")
        for party in missing:
            records.event(cursor, contract_id, _event(cursor, contract_id, party), as_of, who, **details)
        active = records.sign(cursor, contract, dict.fromkeys(missing, instant), as_of)
        names = " e ".join(NAMES[party] for party in missing)
        return f"contrato {contract_id}: assinatura registrada ({names})" + (
            ", contrato ativo" if active else ", falta a outra parte"
        )

    return in_transaction(connection, write)


def _recorded(cursor: Cursor, contract_id: str, party: str, details: dict[str, str]) -> bool:
    cursor.execute(
        "SELECT details FROM litgo.contract_events WHERE contract_id = %s AND event = %s",
        (contract_id, _event(cursor, contract_id, party)),
    )
    row = cursor.fetchone()
    if row and row[0] != details:
        raise SignatureError(f"a assinatura de {NAMES[party]} já está registrada, com outros dados")
    return row is not None


def _event(cursor: Cursor, contract_id: str, party: str) -> str:
    """What a party's signature on paper is called: not what one in an envelope was that came to nothing."""
    cursor.execute(
        "SELECT EXISTS (SELECT FROM litgo.contract_events WHERE contract_id = %s AND event LIKE 'paper:%%')",
        (contract_id,),
    )
    return f"signed_on_paper:{party}" if cursor.fetchone()[0] else f"signed:{party}"


def _contract(contract_id: str) -> str:
    try:
        return identifier(contract_id)
    except ValueError as error:
        raise SignatureError(f"{contract_id!r} não é o identificador de um contrato") from error


def _instant(value: str, as_of: datetime) -> datetime:
    try:
        instant = datetime.fromisoformat(value.strip())
    except ValueError as error:
        raise SignatureError(f"signed_at={value!r}: escreva como 2026-01-31T14:30:00-03:00") from error
    if instant.tzinfo is None:
        raise SignatureError(f"signed_at={value!r}: falta o fuso, como em 2026-01-31T14:30:00-03:00")
    if instant > as_of:
        raise SignatureError("signed_at: a assinatura está no futuro")
    return instant.astimezone(UTC)
