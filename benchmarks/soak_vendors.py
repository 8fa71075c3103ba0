"""Four simulated vendors on loopback for the soak run: as slow as real ones, failing at times, with a memory.

Belongs here: what OpenAI, OneSignal, SendGrid and DocuSign answer, and what each was really asked to deliver. What the
pipelines believe they delivered is the database's; the two are compared by `soak_audit`.
"""

import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from litgo_pipelines.simulation.docusign import ACCOUNT, INTEGRATION, USER, FakeDocuSign
from litgo_pipelines.simulation.faults import (
    Fault,
    FaultServer,
    Handler,
    Request,
    answer,
    hang,
    json_answer,
    reset,
    status,
)

SIGNED_AFTER = timedelta(seconds=30)  # both parties, since the envelope was sent
DIMENSION = 1536


class Trouble:
    """`share` of the requests comes to nothing, a third each: HTTP 500, a connection that breaks before the work is
    done, and one that breaks after it, so that the answer is lost. `seconds`: how long a request takes."""

    def __init__(self, share: float, seconds: float, seed: int) -> None:
        if not 0 <= share < 1:
            raise ValueError(f"the share of requests that fail is in [0, 1), got {share}")
        self.share, self.seconds, self.rng = share, seconds, random.Random(seed)
        self.counts: Counter[str] = Counter()

    def around(self, work: Any) -> Fault:
        """`work()` gives the answer; not called where the request comes to nothing before it is done."""
        draw = self.rng.random() / self.share if self.share else 1.0
        kind = ("refused", "broken", "lost")[int(draw * 3)] if draw < 1 else "answered"
        self.counts[kind] += 1
        fault = {"refused": status(500), "broken": reset}.get(kind) or work()
        return self._slowly(reset if kind == "lost" else fault)

    def _slowly(self, fault: Fault) -> Fault:
        def slow(handler: Handler) -> None:
            if handler.pause(self.seconds):
                fault(handler)

        return slow


class Vendor(FaultServer):
    """A server whose `reply` to a request depends on it; it keeps what it did, not the requests."""

    seconds = 0.1

    def __init__(self, share: float, seed: int) -> None:
        super().__init__()
        self.trouble = Trouble(share, self.seconds, seed)
        self._server.next_fault = self._next  # type: ignore[method-assign]

    def _next(self, request: Request) -> Fault:
        with self._server.lock:
            return self.trouble.around(lambda: self.reply(request))

    def reply(self, request: Request) -> Fault:
        raise NotImplementedError


class OneSignal(Vendor):
    """`pushes`: idempotency key → how often it was asked for; it is sent once."""

    def __init__(self, share: float, seed: int) -> None:
        super().__init__(share, seed)
        self.pushes: Counter[str] = Counter()

    def reply(self, request: Request) -> Fault:
        key = request.json()["idempotency_key"]
        self.pushes[key] += 1
        return json_answer({"id": str(uuid.uuid5(uuid.NAMESPACE_URL, key)), "external_id": None})


class SendGrid(Vendor):
    """`mails`: delivery → how often it was sent, to whom it may concern."""

    def __init__(self, share: float, seed: int) -> None:
        super().__init__(share, seed)
        self.mails: Counter[str] = Counter()

    def reply(self, request: Request) -> Fault:
        if request.method == "GET":  # the suppression lists: nobody is on them
            return json_answer([])
        for person in request.json()["personalizations"]:
            self.mails[person["custom_args"]["delivery_id"]] += 1
        return answer(b"", 202, X_Message_Id=uuid.uuid4().hex)


class OpenAI(Vendor):
    """Classifies by the subarea that a text names, or the first one; a vector belongs to its text."""

    seconds = 0.3

    def reply(self, request: Request) -> Fault:
        asked = request.json()
        return self._embeddings(asked) if request.path.endswith("/embeddings") else self._choice(asked)

    def _choice(self, asked: dict[str, Any]) -> Fault:
        told = asked["messages"][1]["content"].lower()
        labels = asked["response_format"]["json_schema"]["schema"]["properties"]["category"]["enum"]
        named = [label for label in labels if label.split(": ")[-1].lower() in told]
        said = {
            "category": named[0] if named else labels[-1],
            "confidence": 0.93 if named else 0.3,
            "urgency_h": 72,
            "complexity": "MEDIUM",
        }
        message = {"role": "assistant", "content": json.dumps(said), "refusal": None}
        return json_answer({"model": asked["model"], "choices": [{"finish_reason": "stop", "message": message}]})

    def _embeddings(self, asked: dict[str, Any]) -> Fault:
        def vector(text: str) -> list[float]:
            words = [np.random.default_rng(int.from_bytes(sha256(word.encode()).digest()[:8])) for word in text.split()]
            return np.sum([rng.standard_normal(DIMENSION) for rng in words[:8]], axis=0).round(4).tolist()

        texts = asked["input"]
        data = [{"index": row, "embedding": vector(text)} for row, text in enumerate(texts)]
        return json_answer({"model": asked["model"], "data": data})


class DocuSign(FakeDocuSign):
    """The tests' DocuSign, whose parties sign half a minute after an envelope was sent."""

    def __init__(self, public_key: bytes, share: float, seed: int) -> None:
        super().__init__(public_key)
        self.drawn = Trouble(share, 0.4, seed)

    def _answer(self, operation: str, request: Request) -> Fault:
        self.requests.clear()  # they hold documents
        return self.drawn.around(lambda: super(DocuSign, self)._answer(operation, request))

    def _read_envelope(self, request: Request) -> Fault:
        envelope_id = urlsplit(request.path).path.rsplit("/", 1)[1]
        envelope = self.envelopes.get(envelope_id)
        now = datetime.now(UTC)
        if envelope and envelope["status"] == "sent" and now - envelope["created"] > SIGNED_AFTER:
            self.set(envelope_id, "completed", client=now, lawyer=now)
        return super()._read_envelope(request)


class Vendors:
    """The four, and the settings under which the pipelines find them."""

    def __init__(self, share: float, seed: int) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = serialization.Encoding.PEM
        public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.openai, self.onesignal = OpenAI(share, seed), OneSignal(share, seed + 1)
        self.sendgrid, self.docusign = SendGrid(share, seed + 2), DocuSign(public, share, seed + 3)
        self.settings = {
            "OPENAI_API_KEY": "soak",
            "OPENAI_BASE_URL": self.openai.url,
            "ONESIGNAL_APP_ID": "soak",
            "ONESIGNAL_API_KEY": "soak",
            "ONESIGNAL_BASE_URL": self.onesignal.url,
            "SENDGRID_API_KEY": "soak",
            "SENDGRID_BASE_URL": self.sendgrid.url,
            "TEAM_EMAIL": "equipe@litgo.example",
            "DOCUSIGN_BASE_URL": f"{self.docusign.url}/restapi",
            "DOCUSIGN_AUTH_URL": self.docusign.url,
            "DOCUSIGN_ACCOUNT_ID": ACCOUNT,
            "DOCUSIGN_USER_ID": USER,
            "DOCUSIGN_INTEGRATION_KEY": INTEGRATION,
            "DOCUSIGN_PRIVATE_KEY": private.decode().replace("\n", "\\n"),
            "NO_PROXY": "127.0.0.1",
        }

    def fail(self, share: float) -> None:
        """From now on so large a share of the requests comes to nothing."""
        for server in (self.openai, self.onesignal, self.sendgrid):
            server.trouble.share = share
        self.docusign.drawn.share = share

    @contextmanager
    def silent(self, name: str) -> Iterator[None]:
        """Within, this vendor takes requests and says nothing."""
        server = getattr(self, name)._server
        answers, server.next_fault = server.next_fault, lambda request: hang
        try:
            yield
        finally:
            server.next_fault = answers

    @property
    def troubles(self) -> dict[str, Counter[str]]:
        return {
            "openai": self.openai.trouble.counts,
            "onesignal": self.onesignal.trouble.counts,
            "sendgrid": self.sendgrid.trouble.counts,
            "docusign": self.docusign.drawn.counts,
        }


@contextmanager
def serving(share: float, seed: int) -> Iterator[Vendors]:
    vendors = Vendors(share, seed)
    with ExitStack() as stack:
        for server in (vendors.openai, vendors.onesignal, vendors.sendgrid, vendors.docusign):
            stack.enter_context(server)
        yield vendors
        time.sleep(0.5)  # what is under way is answered
