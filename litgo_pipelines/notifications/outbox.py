"""Messages to deliver, written in the transaction of what causes them.

Belongs here: the kinds of messages and how a row is written. Ids only: names, addresses and words are read and made
when a message is sent. Delivery is `delivery`'s. Matching writes its offers' rows in its one statement, `offers.sql`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from litgo_pipelines.database import Cursor
from litgo_pipelines.database.values import as_json
from litgo_pipelines.owners import Owner

# kind → payload keys, all of them ids, instants as ISO 8601, or figures
Kind = Literal[
    "offer",  # to a lawyer: offer_id, case_id, expires_at
    "contract_to_sign",  # to both parties, DocuSign sends its own e-mail: contract_id, due_at
    "contract_manual",  # to both parties and the team, with the PDF attached: contract_id, due_at, reason
    "contract_reminder",  # to who has not signed: contract_id, due_at, method
    "contract_overdue",  # to the team, of a signature by hand: contract_id, due_at
    "contract_refused",  # to both parties and the team: contract_id, reason
    "contract_signed",  # to both parties: contract_id
    "contract_voided",  # to both parties and the team: contract_id, reason
    "docusign_fails",  # to the team: code
    "model_promoted",  # to the team: version, previous, reason
    "model_rolled_back",  # to the team: version, previous, reason
    "promotion_frozen",  # to the team: reason
    "experiment_halted",  # to the team: experiment, reason
    "public_numbers",  # to a client whose life may be at risk: case_id
    "case_waits",  # to the client and the team: case_id, reason (nobody, rounds_over), since
    "case_failed",  # to the team: case_id, since
    "case_review",  # to the team: case_id
    "case_without_contract",  # to the team: case_id
    "case_repeats",  # to the team: case_id, of_case_id
    "state_unknown",  # to the marketplace's team: table, rows, state
    "lawyers_interested",  # to the client: case_id
    "address_bad",  # to the team: person_id, why
    "message_dead",  # to the team: message_id, about (its kind)
    "rows_gone",  # to the marketplace's team: table, rows, before, counted_at
    "run_failed",  # to the team that owns what failed: run_id, job_name, tries, steps, owner
]
TEAM = "00000000-0000-0000-0000-000000000000"  # recipient: the team's address in the settings, e-mail only
# The same for a part of the team; without an address of its own it is told at the team's.
TEAMS = {
    Owner.DATA: "00000000-0000-0000-0000-000000000001",
    Owner.LEARNING: "00000000-0000-0000-0000-000000000002",
    Owner.MARKETPLACE: "00000000-0000-0000-0000-000000000003",
}


class Message(NamedTuple):
    """`dedup_key` names what the message is about, for whom: the same key is never told twice."""

    kind: Kind
    recipient_id: str  # a profile's id (a lawyer's profile has the lawyer's id), or TEAM
    dedup_key: str
    payload: Mapping[str, Any]


def put(cursor: Cursor, messages: Sequence[Message], created_at: datetime) -> None:
    """Write messages in the caller's transaction; those whose key is there already stay as they are."""
    from psycopg2.extras import execute_values

    if messages:
        execute_values(
            cursor,
            "INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at) VALUES %s "
            "ON CONFLICT (dedup_key) DO NOTHING",
            [(m.kind, m.recipient_id, m.dedup_key, as_json(dict(m.payload)), created_at) for m in messages],
        )
