"""Terms of signatures: a contract leaves DocuSign for paper, parties are reminded, the team hears of what is overdue.

Knows the database, not Dagster and not DocuSign. Everything works in the caller's transaction.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from litgo_pipelines.contracts import records
from litgo_pipelines.database import Cursor, sql
from litgo_pipelines.notifications.outbox import TEAM
from litgo_pipelines.observability.metrics import add, count

LAST_ZONE = ZoneInfo("America/Rio_Branco")  # where a day ends last
REMIND = timedelta(days=2)  # before the due date; of a short term, its half


def day_end(at: datetime) -> datetime:
    """When the day people are told is over in all of Brazil; `litgo.day_end` in the database. Pure."""
    day = at.astimezone(records.ZONE).date() + timedelta(days=1)
    return datetime(day.year, day.month, day.day, tzinfo=LAST_ZONE)


def is_near(since: datetime, due_at: datetime, as_of: datetime) -> bool:
    """Is it time to remind of what is due? Not any more once it is overdue. Pure."""
    return due_at - min(REMIND, (due_at - since) / 2) <= as_of < day_end(due_at)


def move(
    cursor: Cursor,
    contract: records.Contract,
    why: str,
    at: datetime,
    *,
    until: datetime,
    envelope: str | None,
    look: datetime | None = None,
) -> None:
    """From DocuSign to paper. Signatures in an envelope that not both have signed are none: the paper has both anew."""
    cursor.execute(MOVE, {"contract": contract.contract_id, "reason": why, "at": at, "due": until, "look": look})
    if not cursor.rowcount:
        return
    cursor.execute(
        "UPDATE contracts SET signed_client = NULL, signed_lawyer = NULL "
        "WHERE id = %s AND status = 'pending-signature' AND (signed_client IS NOT NULL OR signed_lawyer IS NOT NULL)",
        (contract.contract_id,),
    )
    records.event(cursor, contract.contract_id, f"paper:{why}", at, envelope_id=envelope)
    add(cursor, [count("contract_envelopes_abandoned_total", reason=why)])
    people = (contract.client_id, contract.lawyer_id, TEAM)
    records.notify(cursor, "contract_manual", contract.contract_id, people, at, due_at=until.isoformat(), reason=why)


def remind_of_envelope(
    cursor: Cursor, contract: records.Contract, missing: Iterable[records.Party], due_at: datetime, at: datetime
) -> None:
    """Those who have not signed an envelope hear until when they can."""
    ids = {"client": contract.client_id, "lawyer": contract.lawyer_id}
    people = [ids[party] for party in missing]
    records.notify(
        cursor, "contract_reminder", contract.contract_id, people, at, due_at=due_at.isoformat(), method="docusign"
    )
    cursor.execute(
        "UPDATE litgo.contract_requests SET reminded_at = %s WHERE contract_id = %s", (at, contract.contract_id)
    )


def remind(cursor: Cursor, as_of: datetime) -> tuple[int, int]:
    """(parties reminded, overdue contracts told) of signatures by hand."""
    cursor.execute(sql("litgo_pipelines.contracts", "remind.sql"), {"as_of": as_of, "team": TEAM, "remind": REMIND})
    reminded, overdue = cursor.fetchone()
    return reminded, overdue


def to_tell(cursor: Cursor, as_of: datetime) -> int:
    """Signatures by hand of which somebody is to be reminded or told now."""
    cursor.execute(
        sql("litgo_pipelines.contracts", "to_remind.sql"),
        {"as_of": as_of, "remind": REMIND},
    )
    return int(cursor.fetchone()[0])


MOVE = """
UPDATE litgo.contract_requests
SET status = 'manual', method = 'manual', reason = %(reason)s, envelope_id = NULL, due_at = %(due)s,
    next_check_at = %(look)s, checks = 0, failed_looks = 0, reminded_at = NULL
WHERE contract_id = %(contract)s AND status = 'sent'
"""
