"""DocuSign resource: create, find, read and void envelopes, under the policy for external services.

DocuSign has no idempotency key. Each envelope carries a transaction id of the caller's, and after a lost answer it is
looked up before another one is created. What an envelope means for a contract is the caller's to know.
"""

import base64
import random
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID

from pydantic import PrivateAttr

from litgo_pipelines.resources.bounded import Answer
from litgo_pipelines.resources.external_service import (
    RETRIED,
    CircuitOpen,
    ExternalService,
    PermanentFailure,
    Refusal,
    TransientFailure,
    json_of,
)
from litgo_pipelines.resources.rate_limits import until_reset
from litgo_pipelines.resources.vendor import VendorResource
from litgo_pipelines.settings import secret

T = TypeVar("T")
CUSTOM_FIELD = "litgo_transaction"
TRANSACTION_ID_LASTS = timedelta(days=6)  # DocuSign forgets it after seven
ENDED = ("declined", "voided", "deleted", "timedout")
# Told with status 400. Whoever asks again before the limit's hour is over makes it longer.
LIMITS = {
    "HOURLY_APIINVOCATION_LIMIT_EXCEEDED": 3600.0,
    "BURST_APIINVOCATION_LIMIT_EXCEEDED": 30.0,
    "POLLING_APIINVOCATION_LIMIT_EXCEEDED": 900.0,
    "MAXIMUM_CONCURRENT_REQUESTS_EXCEEDED": 30.0,
}
GONE = ("ENVELOPE_DOES_NOT_EXIST", "ENVELOPE_NOT_FOUND", "INVALID_ENVELOPE_ID")
# An e-mail that did not arrive, told as if its addressee had declined; in the words of mail servers and of DocuSign. A
# clause's number is none of theirs: 5.1.1 counts after a mail server's 5xx, or at the beginning.
BOUNCE = (
    r"\bbounc|undeliver|not (be )?deliver|deliver\w* (has |have |had )?(fail|status notif)|fail\w* to deliver"
    r"|delivery to .{0,60}fail|auto.?respon|mailbox"
    r"|\b(unknown|invalid|unrouteable|nonexistent|no such) (user|address|recipient|e-?mail|host)"
    r"|\b(user|recipient|address|account|domain|host) (\w+ )?(unknown|not found|rejected|disabled|does(n't| not) exist)"
    r"|(^|#|\b5\d\d[ -])\W*5\.\d\.\d|^(smtp\W*)?55\d\b"
    r"|e-?mail (\w+ )?(voltou|retornou|devolvid|recusad|inv[aá]lid|inexistente|n[aã]o (foi )?entreg|n[aã]o existe)"
    r"|mensagem (n[aã]o (foi |p[oô]de ser )?entreg|devolvida)|falha na entrega|caixa (postal|de entrada|de correio)"
    r"|(usu[aá]rio|destinat[aá]rio) (desconhecid|inexistente|n[aã]o encontrad)"
)
CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]{1,79}")
TOKEN_REFUSED = (
    "the JWT grant was refused. Either consent is required: an administrator opens "
    "DOCUSIGN_AUTH_URL/oauth/auth?response_type=code&scope=signature%20impersonation&client_id=INTEGRATION_KEY"
    "&redirect_uri=ONE_OF_THE_APP once and accepts; or DOCUSIGN_INTEGRATION_KEY, DOCUSIGN_USER_ID and "
    "DOCUSIGN_PRIVATE_KEY do not belong together, or not to DOCUSIGN_AUTH_URL's environment; or this machine's "
    "clock is wrong by minutes"
)
CLOCK_MAY_BE_WRONG = 300  # seconds; DocuSign refuses a grant that was issued in its future
GRANT_LASTS = 3600  # seconds from being issued, the most DocuSign takes


class Signer(NamedTuple):
    """`anchor`: the words in the document where this person signs."""

    name: str
    email: str
    anchor: str


class Draft(NamedTuple):
    """An envelope to be sent; the signers sign in this order. `since`: an instant before it can have been created;
    `lasts_days`: DocuSign ends it by itself after them."""

    transaction_id: str
    subject: str
    blurb: str
    document_name: str
    pdf: bytes
    signers: Sequence[Signer]
    since: datetime
    lasts_days: int = 30


class Recipient(NamedTuple):
    """A signer as DocuSign has them now, who may have been replaced. `bounced`: the e-mail did not reach them."""

    name: str
    email: str
    bounced: bool
    declined: bool


@dataclass(frozen=True)
class Envelope:
    """`signed`: place among the signers, from 1 → when they signed, by DocuSign's clock; `signers`: by place, empty
    in a list; `expired`: voided by DocuSign itself, because its days were over."""

    envelope_id: str
    status: str
    signed: Mapping[int, datetime]
    signers: Mapping[int, Recipient] = field(default_factory=dict)
    expired: bool = False


class EnvelopeGone(PermanentFailure):
    """There is no such envelope, or it is not this account's: nobody will sign it."""


class DocuSign(VendorResource):
    """The private key (PEM) is not a field, for Dagster shows a resource's fields: DOCUSIGN_PRIVATE_KEY at the call.

    `base_url`: the account's REST base, without /v2.1; `timeout_seconds` is for one attempt, `deadline_seconds` for
    all of a method; `database_url`: where breaker and metrics are. Every method raises TransientFailure, CircuitOpen
    or PermanentFailure; no message holds a name, an address or a key.
    """

    SERVICE = "docusign"

    base_url: str | None = None
    auth_url: str = "https://account.docusign.com"
    account_id: str | None = None
    user_id: str | None = None
    integration_key: str | None = None
    timeout_seconds: float = 45.0
    deadline_seconds: float = 90.0

    _token: tuple[str, float] | None = PrivateAttr(default=None)  # and until when, monotonic

    @property
    def configured(self) -> bool:
        given = (self.base_url, self.account_id, self.user_id, self.integration_key)
        return all((*given, secret("DOCUSIGN_PRIVATE_KEY")))

    def _refusal(self, answer: Answer) -> Refusal:
        return refusal(answer)

    def send(self, draft: Draft, *, look_first: bool) -> str:
        """The id of the one envelope of the draft's transaction. `look_first`: it may have been created before.

        Creation is tried again only when DocuSign has answered that there is none; after a timeout it is not, for the
        lost request may still be at work. When this raises, an envelope may be there all the same.
        """
        until = time.monotonic() + self.deadline_seconds
        if look_first and (found := self._existing(draft, until)):
            return found
        for attempt in range(1, self.service.attempts + 1):
            try:
                path, body = "/envelopes", definition(draft)
                return self._call("create_envelope", "POST", path, _envelope_id, until, body=body, attempts=1)
            except TransientFailure as failure:
                if isinstance(failure, CircuitOpen):
                    raise
                if failure.reason != "rate_limited" and (found := self._existing(draft, until)):
                    return found
                backoff = self.service.backoff_seconds * (2 ** (attempt - 1) + random.random())
                pause = max(backoff, failure.retry_after or 0.0)
                over = attempt == self.service.attempts or time.monotonic() + pause >= until
                if over or failure.reason == "timeout" or failure.reason not in RETRIED:
                    raise
                time.sleep(pause)
        raise ValueError("attempts must be at least 1")

    def find(self, transaction_id: str, since: datetime) -> list[Envelope]:
        """Every envelope of the transaction, created after `since`; who signed is not told."""
        return self._find(transaction_id, since, time.monotonic() + self.deadline_seconds)

    def read(self, envelope_id: str) -> Envelope:
        """One envelope with who has signed when. Raises EnvelopeGone too."""
        path = f"/envelopes/{quote(envelope_id, safe='')}?include=recipients"
        with _gone():
            return self._call("read_envelope", "GET", path, _envelope, time.monotonic() + self.deadline_seconds)

    def void(self, envelope_id: str, reason: str) -> None:
        """Nobody can sign it any more. One that has ended or is complete is refused: PermanentFailure; EnvelopeGone."""

        def read(answer: Answer) -> None:
            if _uuid(json_of(answer)["envelopeId"]) != _uuid(envelope_id):
                raise ValueError("the answer is about another envelope")

        body = {"status": "voided", "voidedReason": reason}
        path = f"/envelopes/{quote(envelope_id, safe='')}"
        with _gone(told=True):  # nobody looks again whether it was somebody else's page that was not found
            self._call("void_envelope", "PUT", path, read, time.monotonic() + self.deadline_seconds, body=body)

    def _existing(self, draft: Draft, until: float) -> str | None:
        found = self._find(draft.transaction_id, draft.since, until)
        alive = [envelope for envelope in found if envelope.status not in ENDED] or found
        return alive[0].envelope_id if alive else None

    def _find(self, transaction_id: str, since: datetime, until: float) -> list[Envelope]:
        query = {"from_date": (since - timedelta(days=1)).isoformat()}
        if datetime.now(UTC) - since < TRANSACTION_ID_LASTS:
            query["transaction_ids"] = transaction_id
        else:
            query["custom_field"] = f"{CUSTOM_FIELD}={transaction_id}"
        return self._call("find_envelope", "GET", f"/envelopes?{urlencode(query)}", _envelopes, until)

    def _call(
        self,
        operation: str,
        method: str,
        path: str,
        read: Callable[[Answer], T],
        until: float,
        *,
        body: object = None,
        attempts: int | None = None,
    ) -> T:
        if not self.configured:
            raise PermanentFailure("rejected", "DocuSign is not configured: set all of DOCUSIGN_*")
        url = f"{(self.base_url or '').rstrip('/')}/v2.1/accounts/{quote(self.account_id or '', safe='')}{path}"
        while True:
            cached, token = self._token is not None, self._access_token(until)
            try:
                return self._within(until, attempts).call(
                    operation, method, url, headers={"Authorization": f"Bearer {token}"}, read=read, json_body=body
                )
            except PermanentFailure as failure:
                if failure.status != 401:
                    raise
                self._token = None
                if not cached:
                    raise

    def _access_token(self, until: float) -> str:
        """A cached token, or a new one, by the JWT grant (RFC 7523)."""
        if self._token and time.monotonic() < self._token[1]:
            return self._token[0]

        def read(answer: Answer) -> tuple[str, float]:
            granted = json_of(answer)
            token, lasts = granted["access_token"], float(granted["expires_in"])
            if not isinstance(token, str) or not token.isascii() or not token or not lasts > 0:
                raise ValueError("no token")
            return token, time.monotonic() + max(0.0, lasts - 300)

        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": self._assertion()}
        url = f"{self.auth_url.rstrip('/')}/oauth/token"
        try:
            self._token = self._within(until).call("token", "POST", url, form=form, read=read)
        except PermanentFailure as failure:
            if failure.status != 400:
                raise
            refused = PermanentFailure(
                "rejected", f"docusign token: HTTP 400, {TOKEN_REFUSED}", status=400, code=failure.code
            )
            refused.attempts = failure.attempts
            raise refused from None
        return self._token[0]

    def _assertion(self) -> str:
        import jwt

        issued = int(time.time()) - CLOCK_MAY_BE_WRONG
        claims = {
            "iss": self.integration_key,
            "sub": self.user_id,
            "aud": urlsplit(self.auth_url).netloc,
            "iat": issued,
            "exp": issued + GRANT_LASTS,
            "scope": "signature impersonation",
        }
        # An environment file often cannot hold line breaks.
        key = secret("DOCUSIGN_PRIVATE_KEY").replace("\\n", "\n")
        try:
            return jwt.encode(claims, key, algorithm="RS256")
        except (jwt.PyJWTError, ValueError, TypeError):
            raise PermanentFailure("rejected", "DOCUSIGN_PRIVATE_KEY is not a private RSA key in PEM") from None

    def _within(self, until: float, attempts: int | None = None) -> ExternalService:
        left = max(0.01, until - time.monotonic())
        return replace(self.service, deadline_seconds=left, attempts=attempts or self.service.attempts)


def definition(draft: Draft) -> dict[str, object]:
    """The envelope as DocuSign's `envelopeDefinition`."""
    signers = [
        {
            "recipientId": str(place),
            "routingOrder": str(place),
            "name": signer.name,
            "email": signer.email,
            "emailNotification": {"supportedLanguage": "pt_BR"},
            "tabs": {
                "signHereTabs": [
                    {"anchorString": signer.anchor, "anchorUnits": "pixels", "anchorXOffset": "0", "anchorYOffset": "0"}
                ]
            },
        }
        for place, signer in enumerate(draft.signers, start=1)
    ]
    return {
        "status": "sent",
        "transactionId": draft.transaction_id,
        "emailSubject": draft.subject,
        "emailBlurb": draft.blurb,
        "documents": [
            {
                "documentId": "1",
                "name": draft.document_name,
                "fileExtension": "pdf",
                "documentBase64": base64.b64encode(draft.pdf).decode(),
            }
        ],
        "recipients": {"signers": signers},
        "allowReassign": "false",
        "notification": {
            "useAccountDefaults": "false",
            "expirations": {"expireEnabled": "true", "expireAfter": str(draft.lasts_days), "expireWarn": "0"},
        },
        "customFields": {
            "textCustomFields": [
                {"name": CUSTOM_FIELD, "value": draft.transaction_id, "required": "false", "show": "false"}
            ]
        },
    }


def refusal(answer: Answer) -> Refusal:
    """DocuSign's `errorCode`, or the `error` of its token endpoint; a limit with the seconds until it is over."""
    try:
        found = json_of(answer)
        code = found.get("errorCode") or found.get("error")
    except (ValueError, TypeError, AttributeError, RecursionError):
        return Refusal()
    if not isinstance(code, str) or not CODE.fullmatch(code):
        return Refusal()
    limit = next((seconds for name, seconds in LIMITS.items() if name == code.upper()), None)
    if limit is None and "LIMIT_EXCEEDED" not in code.upper():
        return Refusal(code)
    if "ENVELOPE" in code.upper():  # of this one, told with a hint in its name alone
        return Refusal(code, of_one=True, retry_after=3600.0 if "HOURLY" in code.upper() else 30.0)
    told = until_reset(answer.headers)
    if told is None or told <= 1.0:  # an end that is over, and yet it was refused
        told = limit or 60.0
    return Refusal(code, limit_reached=True, retry_after=told)


@contextmanager
def _gone(*, told: bool = False) -> Iterator[None]:
    """Turns the answer that there is no such envelope into EnvelopeGone. `told`: only where DocuSign itself says so."""
    try:
        yield
    except PermanentFailure as failure:
        known = (failure.code or "").upper()
        if known in GONE or (failure.status == 404 and not known and not told):
            gone = EnvelopeGone("rejected", str(failure), status=failure.status, code=failure.code)
            gone.attempts = failure.attempts
            raise gone from None
        raise


def _uuid(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("an id is text")
    return str(UUID(value))


def _envelope_id(answer: Answer) -> str:
    return _uuid(json_of(answer)["envelopeId"])


def _envelope(answer: Answer) -> Envelope:
    found = json_of(answer)
    status = found["status"].lower()
    signers = found["recipients"]["signers"] or []
    ended = found.get("completedDateTime")  # stands in for a signature whose own instant is not told
    signed = {  # who signed at no instant that is told has not, as far as we know, until the envelope is complete
        _place(signer): at
        for signer in signers
        if signer["status"].lower() in ("signed", "completed")
        and (at := _instant(signer.get("signedDateTime")) or _instant(ended))
    }
    if status == "completed" and len(signed) < len(signers):
        raise ValueError("complete, and yet somebody has not signed, or at no instant")
    people = {_place(signer): _recipient(signer) for signer in signers}
    # «expired», «expirou», «expirado»: the reason is in the account's language
    expired = status == "timedout" or (status == "voided" and "expir" in str(found.get("voidedReason", "")).lower())
    return Envelope(_uuid(found["envelopeId"]), status, signed, people, expired)


def _place(signer: Mapping[str, Any]) -> int:
    """Among the signers, from 1. Who was added later may have an id of letters: a place that none of ours has."""
    identifier = str(signer["recipientId"])
    return int(identifier) if re.fullmatch("[0-9]{1,9}", identifier) else -1 - zlib.crc32(identifier.encode())


def _recipient(signer: Mapping[str, Any]) -> Recipient:
    status, why = re.sub("[^a-z]", "", signer["status"].lower()), str(signer.get("declinedReason") or "")
    bounced = status == "autoresponded" or (status == "declined" and bool(re.search(BOUNCE, why, re.IGNORECASE)))
    name, email = signer.get("name") or "", signer.get("email") or ""
    if not isinstance(name, str) or not isinstance(email, str):
        raise ValueError("a name or an address that is no text")
    return Recipient(name, email, bounced, status == "declined" and not bounced)


def _envelopes(answer: Answer) -> list[Envelope]:
    """An answer without envelopes must say that there are none: a page cut short is no proof."""
    found = json_of(answer)
    listed = [*found.get("envelopes", []), *found.get("envelopeTransactionStatuses", [])]
    envelopes = {_uuid(each["envelopeId"]): each["status"].lower() for each in reversed(listed)}
    if not envelopes and int(found["resultSetSize"]) != 0:
        raise ValueError("envelopes that are not told")
    return [Envelope(envelope_id, status, {}) for envelope_id, status in envelopes.items()]


def _instant(value: str | None) -> datetime | None:
    """Without a zone it is UTC, as everywhere in DocuSign's answers; None for what stands for no instant: nothing, the
    first year and the last, and for what cannot be read."""
    if not value:
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        return None
    if not 2000 <= instant.year < 9999:
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
