"""SendGrid resource: one e-mail to one address, and whom none reaches, under the policy for external services.

Optional: without SENDGRID_API_KEY nothing here is called. Words, order and repetition are the caller's.
"""

import base64
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, get_args
from urllib.parse import urlencode

from litgo_pipelines.resources.bounded import Answer
from litgo_pipelines.resources.external_service import PermanentFailure, Refusal, json_of
from litgo_pipelines.resources.vendor import VendorResource
from litgo_pipelines.settings import secret

SENDER_NAME = "LITGO"
MOST_BYTES = 2**16  # of an answer, which has none
List = Literal["bounces", "blocks", "invalid_emails", "spam_reports", "unsubscribes"]
LISTS: tuple[List, ...] = get_args(List)
UNKNOWN = datetime.fromtimestamp(0, UTC)  # since when an address is listed that has no date
REFUSALS = {
    "credits exceeded": Refusal("credits_exceeded", to_do="the plan's messages are used up: raise it at SendGrid"),
    "sender identity": Refusal("sender_not_verified", to_do="verify MAIL_FROM as a sender at SendGrid"),
    "does not match a verified": Refusal("sender_not_verified", to_do="verify MAIL_FROM as a sender at SendGrid"),
    "not authorized to send": Refusal("sending_forbidden", to_do="the account may not send: ask SendGrid's support"),
    "access forbidden": Refusal("scope_missing", to_do="the key lacks a right, Mail Send or Suppressions"),
}
PAGE, MOST_PAGES = 500, 400  # the most SendGrid gives at once; a list beyond so many pages is read no further


class Suppressed(NamedTuple):
    """An address on one of the lists."""

    email: str
    since: datetime


class SendGrid(VendorResource):
    """The key is not a field, for Dagster shows a resource's fields: it is read from SENDGRID_API_KEY at the call.

    SendGrid has no idempotency key, so that a call is one HTTP request: who repeats it must know, and count it.
    """

    SERVICE = "sendgrid"
    ATTEMPTS = 1

    sender: str = "nao-responda@litgo.example"
    base_url: str | None = None
    timeout_seconds: float = 15.0
    deadline_seconds: float = 30.0

    @property
    def missing(self) -> str | None:
        """The variable that must be set before anything can be sent."""
        return None if secret("SENDGRID_API_KEY") else "SENDGRID_API_KEY"

    def _refusal(self, answer: Answer) -> Refusal:
        return _refusal(answer)

    def mail(
        self,
        *,
        to: str,
        name: str | None,
        subject: str,
        text: str,
        html: str,
        reference: str,
        reply_to: str | None = None,
        pdfs: Mapping[str, bytes] | None = None,
    ) -> str:
        """SendGrid's id of the message it accepted, empty when it gave none. `reference`: comes back with its events;
        `pdfs`: file name → content. Raises ServiceFailure."""
        recipient = {"email": to} | ({"name": name} if name else {})
        body: dict[str, Any] = {
            "personalizations": [{"to": [recipient], "custom_args": {"delivery_id": reference}}],
            "from": {"email": self.sender, "name": SENDER_NAME},
            "subject": subject,
            "content": [{"type": "text/plain", "value": text}, {"type": "text/html", "value": html}],
            # what a person opens and when is not ours to know
            # and no link under a contract that takes its reader off all messages
            "tracking_settings": {f"{what}_tracking": {"enable": False} for what in ("click", "open", "subscription")},
        }
        if reply_to:
            body["reply_to"] = {"email": reply_to}
        if pdfs:
            body["attachments"] = [
                {
                    "content": base64.b64encode(content).decode(),
                    "type": "application/pdf",
                    "filename": file,
                    "disposition": "attachment",
                }
                for file, content in pdfs.items()
            ]
        return self.service.call(
            "mail",
            "POST",
            f"{(self.base_url or 'https://api.sendgrid.com').rstrip('/')}/v3/mail/send",
            headers={"Authorization": f"Bearer {secret('SENDGRID_API_KEY')}"},
            json_body=body,
            most_bytes=MOST_BYTES,
            read=_accepted,
        )

    def suppressed(self, name: List) -> list[Suppressed]:
        """Everybody on the list, page by page to its end. Raises ServiceFailure."""
        # reading is repeated without harm, unlike sending
        service = replace(self.service, attempts=3)
        found: list[Suppressed] = []
        for page in range(MOST_PAGES):
            query = urlencode({"limit": PAGE, "offset": page * PAGE})
            there = service.call(
                "suppressions",
                "GET",
                f"{(self.base_url or 'https://api.sendgrid.com').rstrip('/')}/v3/suppression/{name}?{query}",
                headers={"Authorization": f"Bearer {secret('SENDGRID_API_KEY')}", "Accept": "application/json"},
                read=_suppressed,
            )
            found += there
            if len(there) < PAGE:
                return found
        raise PermanentFailure(
            "rejected", f"sendgrid {name}: more than {PAGE * MOST_PAGES:,} addresses, clear the list"
        )


def _suppressed(answer: Answer) -> list[Suppressed]:
    """The rows that name an address. One that says nothing, among others that do, is passed over; a page of such rows
    alone is no list."""
    rows = json_of(answer)
    if not isinstance(rows, list):
        raise ValueError("no list")
    since = [_instant(row["created"]) if _names_somebody(row) and "created" in row else None for row in rows]
    if rows and not any(since):
        raise ValueError("no row says who is on the list and since when")
    named = zip(rows, since, strict=True)
    return [Suppressed(row["email"].strip(), at or UNKNOWN) for row, at in named if _names_somebody(row)]


def _names_somebody(row: object) -> bool:
    return isinstance(row, Mapping) and isinstance(email := row.get("email"), str) and "@" in email


def _instant(created: object) -> datetime | None:
    """Seconds of Unix time, as a number or as text; None for what is no instant."""
    try:
        return datetime.fromtimestamp(float(str(created)), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _refusal(answer: Answer) -> Refusal:
    """SendGrid has no codes: what it tells in prose with the status of a wrong key is known by its words."""
    if answer.status in (401, 403):
        said = answer.body.decode(errors="replace").lower()
        return next((found for words, found in REFUSALS.items() if words in said), Refusal())
    return Refusal()


def _accepted(answer: Answer) -> str:
    if answer.status != 202:  # a page of some gateway in between, say
        raise ValueError("not the status of an accepted message")
    return answer.headers.get("x-message-id", "")
