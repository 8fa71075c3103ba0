"""OneSignal resource: one push to one subscription, under the policy for external services.

Optional: without ONESIGNAL_API_KEY and an app id nothing here is called. Words, order and repetition are the caller's.
"""

from typing import Any

from litgo_pipelines.resources.bounded import Answer
from litgo_pipelines.resources.external_service import json_of
from litgo_pipelines.resources.vendor import VendorResource
from litgo_pipelines.settings import secret

MOST_BYTES = 2**16  # of an answer, which has a few hundred


class OneSignal(VendorResource):
    """The key is not a field, for Dagster shows a resource's fields: it is read from ONESIGNAL_API_KEY at the call.

    One HTTP request per call: the outbox repeats, in its own rows, and knows after each whether it may have arrived.
    """

    SERVICE = "onesignal"
    ATTEMPTS = 1

    app_id: str | None = None
    base_url: str | None = None
    timeout_seconds: float = 15.0
    deadline_seconds: float = 30.0

    @property
    def missing(self) -> str | None:
        """The variable that must be set before anything can be sent."""
        if not self.app_id:
            return "ONESIGNAL_APP_ID"
        return None if secret("ONESIGNAL_API_KEY") else "ONESIGNAL_API_KEY"

    def push(
        self, *, subscription: str, title: str, text: str, idempotency_key: str, ttl_seconds: int | None = None
    ) -> str | None:
        """The notification's id; None when there is no such subscription any more. `idempotency_key`: a UUID; within
        30 days the same one gives the first answer again and sends nothing. `ttl_seconds`: for how long the phone may
        be out of reach. Raises ServiceFailure.
        """
        body: dict[str, Any] = {
            "app_id": self.app_id,
            "target_channel": "push",
            "include_subscription_ids": [subscription],
            "headings": {"en": title, "pt": title},  # "en" is required, and shown where no other language fits
            "contents": {"en": text, "pt": text},
            "idempotency_key": idempotency_key,
        }
        if ttl_seconds is not None:
            body["ttl"] = ttl_seconds
        return self.service.call(
            "push",
            "POST",
            f"{(self.base_url or 'https://api.onesignal.com').rstrip('/')}/notifications",
            headers={"Authorization": f"Key {secret('ONESIGNAL_API_KEY')}"},
            json_body=body,
            most_bytes=MOST_BYTES,
            read=_notification,
        )


def _notification(answer: Answer) -> str | None:
    """Status 200 says nothing: not created is an empty or absent id with `errors`; so is our one id among them, and an
    id of a message that has no recipient."""
    found = json_of(answer)
    identifier, errors = found.get("id"), found.get("errors")
    if errors or str(found.get("recipients")) == "0":
        return None
    if not isinstance(identifier, str) or not identifier:
        raise ValueError("neither an id nor errors")
    return identifier
