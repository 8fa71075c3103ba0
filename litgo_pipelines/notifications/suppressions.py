"""Suppression lists: addresses SendGrid takes messages for and does not deliver to.

Knows the database and the client, not Dagster. A list is read to its end before anything of it is written: one that
could not be read stays as it was. What SendGrid had accepted for an address that bounced then goes out another way.
"""

from dataclasses import dataclass, field
from datetime import datetime

from litgo_pipelines.database import Connection, Cursor, in_transaction, sql
from litgo_pipelines.notifications.addresses import digest, forms
from litgo_pipelines.notifications.outbox import TEAM
from litgo_pipelines.observability.metrics import add, count
from litgo_pipelines.resources.sendgrid import LISTS, SendGrid, Suppressed

PACKAGE = "litgo_pipelines.notifications"


@dataclass
class Polled:
    """`known`: list → addresses on it; `fresh`: that were not before; `again`: messages that go another way."""

    known: dict[str, int] = field(default_factory=dict)
    fresh: int = 0
    again: int = 0


def poll(connection: Connection, sendgrid: SendGrid, as_of: datetime) -> Polled:
    """Read all lists and write what they hold. Raises ServiceFailure; lists read before it are written."""
    result = Polled()
    for name in LISTS:
        found = sendgrid.suppressed(name)

        def write(cursor: Cursor, name: str = name, found: list[Suppressed] = found) -> tuple[int, int]:
            return _write(cursor, name, found, as_of)

        fresh, again = in_transaction(connection, write)
        result.known[name] = len(found)
        result.fresh += fresh
        result.again += again
    return result


def _write(cursor: Cursor, name: str, found: list[Suppressed], as_of: datetime) -> tuple[int, int]:
    since = {digest(form): one.since for one in found for form in forms(one.email)}
    cursor.execute(
        sql(PACKAGE, "suppressed.sql"),
        {"list": name, "digests": list(since), "since": list(since.values()), "as_of": as_of, "team": TEAM},
    )
    fresh, again = cursor.fetchone()
    if fresh:
        add(cursor, [count("mail_suppressions_total", fresh, list=name)])
    return fresh, again
