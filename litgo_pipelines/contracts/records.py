"""Rows written by every path to a signature: events, signatures, a contract's end. Each in the caller's transaction.

Knows the database, not Dagster and not DocuSign. A contract changes only from 'pending-signature'.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from litgo_pipelines.database import Cursor
from litgo_pipelines.database.values import as_json
from litgo_pipelines.notifications.outbox import TEAM, Kind, Message, put
from litgo_pipelines.observability.metrics import add, count
from litgo_pipelines.settings import TIMEZONE

ZONE = ZoneInfo(TIMEZONE)
Party = Literal["client", "lawyer"]
PARTIES: tuple[Party, Party] = ("client", "lawyer")  # in the order in which they sign
PIPELINES = "pipelines"

LOCK_TIMEOUT = "SET lock_timeout = '5s'"  # a row that somebody holds delays its contract alone


@dataclass(frozen=True)
class Contract:
    contract_id: str
    client_id: str
    lawyer_id: str
    status: str
    created_at: datetime | None


def locked(cursor: Cursor, contract_id: str) -> Contract | None:
    """The marketplace's row, nobody else's until the transaction ends."""
    cursor.execute(
        "SELECT id::text, client_id::text, lawyer_id::text, status, created_at FROM contracts WHERE id = %s::uuid "
        "FOR UPDATE",
        (contract_id,),
    )
    row = cursor.fetchone()
    return row and Contract(*row)


def event(cursor: Cursor, contract_id: str, name: str, at: datetime, actor: str = PIPELINES, **details: object) -> bool:
    """Append to the contract's history; False when it is there already."""
    cursor.execute(
        "INSERT INTO litgo.contract_events (contract_id, event, at, actor, details) VALUES (%s, %s, %s, %s, %s) "
        "ON CONFLICT (contract_id, event) DO NOTHING",
        (contract_id, name, at, actor, as_json(details)),
    )
    return cursor.rowcount == 1


def notify(
    cursor: Cursor,
    kind: Kind,
    contract_id: str,
    recipients: Iterable[str | None],
    at: datetime,
    *,
    about: str | None = None,
    **payload: str,
) -> None:
    """A message to each recipient, once. `about`: once for each of these; None: once for the contract."""
    messages = [
        Message(kind, who, f"{kind}:{about or contract_id}:{who}", {"contract_id": contract_id, **payload})
        for who in recipients
        if who
    ]
    put(cursor, messages, at)


def docusign_fails(cursor: Cursor, code: str, at: datetime) -> None:
    """The team hears once a day that DocuSign cannot be asked, and by which of its words."""
    day = f"{at.astimezone(ZONE):%Y-%m-%d}"
    put(cursor, [Message("docusign_fails", TEAM, f"docusign_fails:{code}:{day}", {"code": code})], at)


def sign(cursor: Cursor, contract: Contract, signed: Mapping[Party, datetime], at: datetime) -> bool:
    """Write who has signed when; True when that makes the contract active, which is counted and told.

    The signatures first, with the status as it is: a trigger of the marketplace may take them as the occasion to make
    the contract active, with what else belongs to that. The status follows where nothing did.
    """
    given = {"client": signed.get("client"), "lawyer": signed.get("lawyer"), "contract": contract.contract_id}
    cursor.execute(SIGN, given)
    row = cursor.fetchone()
    if row is None or None in row[1:]:
        return False
    if row[0] == "pending-signature":
        cursor.execute(ACTIVATE, given)
        row = cursor.fetchone()
    if row is None or row[0] != "active":
        return False
    cursor.execute(
        "UPDATE litgo.contract_requests SET status = 'signed' WHERE contract_id = %s", (contract.contract_id,)
    )
    add(cursor, [count("contracts_signed_total")])
    notify(cursor, "contract_signed", contract.contract_id, (contract.client_id, contract.lawyer_id), at)
    return True


def cancel(cursor: Cursor, contract: Contract, reason: str, at: datetime) -> None:
    """A person declined or voided DocuSign's envelope: the contract ends, both parties and the team hear of it."""
    cursor.execute(
        "UPDATE contracts SET status = 'canceled' WHERE id = %s AND status = 'pending-signature'",
        (contract.contract_id,),
    )
    if cursor.rowcount:
        people = (contract.client_id, contract.lawyer_id, TEAM)
        notify(cursor, "contract_voided", contract.contract_id, people, at, reason=reason)
    cursor.execute(
        "UPDATE litgo.contract_requests SET status = 'canceled', reason = %s, next_check_at = NULL "
        "WHERE contract_id = %s",
        (reason, contract.contract_id),
    )


SIGN = """
UPDATE contracts c SET
    signed_client = coalesce(litgo.instant(signed_client), %(client)s),
    signed_lawyer = coalesce(litgo.instant(signed_lawyer), %(lawyer)s)
WHERE c.id = %(contract)s AND c.status = 'pending-signature'
RETURNING c.status, c.signed_client, c.signed_lawyer
"""
ACTIVATE = """
UPDATE contracts SET status = 'active' WHERE id = %(contract)s AND status = 'pending-signature' RETURNING status
"""
