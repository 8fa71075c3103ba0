"""Parties of an envelope: are those who sign it the ones it was sent to?

Knows the database, not DocuSign's client. What was sent is kept as digests, for a name or an address is personal data.
"""

import hashlib
from collections.abc import Mapping

from litgo_pipelines.database import Cursor
from litgo_pipelines.marketplace.names import visible
from litgo_pipelines.marketplace.words import folded
from litgo_pipelines.notifications.addresses import mailbox, usable
from litgo_pipelines.resources.docusign import Recipient

LONGEST_NAME = 100  # characters DocuSign takes of a name
LONGEST_EMAIL = 100  # it cuts off the rest, and the contract goes to whoever has the address that is left


def name(value: str | None) -> str:
    """A party's name as it is sent to DocuSign."""
    return visible(value)[:LONGEST_NAME].rstrip()


def email(value: str | None) -> str | None:
    """A party's address, where DocuSign keeps the whole of it."""
    found = usable(value)
    return found if found and len(found) <= LONGEST_EMAIL else None


def share_a_mailbox(*emails: str | None) -> bool:
    """Would what is sent to one of the parties be read, and signed, by the other?"""
    known = [mailbox(found) for each in emails if (found := usable(each))]
    return len(set(known)) < len(known)


def digest(contract_id: str, who: str, email: str) -> str:
    """Of one party; case, accents and blanks do not count. The contract's id keeps digests from being compared."""
    parts = (contract_id, folded(name(who)), folded(email))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def replaced(cursor: Cursor, contract_id: str, signers: Mapping[int, Recipient], sent: list[str] | None) -> bool:
    """Is anybody among the signers who is neither as the envelope was sent nor as the profiles are now?

    `sent`: digests by place; None: of before they were kept.
    """
    if set(signers) != {1, 2}:
        return True
    there = [digest(contract_id, signers[place].name, signers[place].email) for place in (1, 2)]
    if there == sent:
        return False
    cursor.execute(NOW, (contract_id,))
    row = cursor.fetchone()
    if row is None:
        return sent is not None
    known = [digest(contract_id, who or "", usable(email) or "") for who, email in (row[:2], row[2:])]
    return any(
        each != now and (sent is None or each != before)
        for each, now, before in zip(there, known, sent or known, strict=True)
    )


NOW = """
SELECT p.full_name, p.email, l.name, lp.email
FROM contracts c
LEFT JOIN profiles p ON p.id = c.client_id
LEFT JOIN lawyers l ON l.id = c.lawyer_id
LEFT JOIN profiles lp ON lp.id = c.lawyer_id
WHERE c.id = %s
"""
