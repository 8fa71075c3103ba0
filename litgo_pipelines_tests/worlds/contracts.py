"""DocuSign's end of the line on loopback, which keeps its envelopes, and contracts to be signed."""

import base64
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from litgo_pipelines.database import connect, open_connection
from litgo_pipelines.resources.docusign import DocuSign
from litgo_pipelines_tests.worlds.faults import Fault, FaultServer, Request, json_answer, status
from litgo_pipelines_tests.worlds.rows import Marketplace

ACCOUNT, USER, INTEGRATION = "account-1", "user-1", "integration-1"
NOW = datetime.now(UTC).replace(microsecond=0)  # DocuSign's week of transaction ids is by the real clock


class FakeDocuSign(FaultServer):
    """Keeps envelopes as DocuSign does: a transaction id sent twice makes two.

    `trouble`: operation → what happens to its next requests instead of an answer (None: nothing), the last one to all
    further ones; `lost`: the same, once, after the request has done its work.
    """

    def __init__(self, public_key: bytes) -> None:
        super().__init__()
        self.public_key = public_key
        self.envelopes: dict[str, dict[str, Any]] = {}
        self.trouble: dict[str, list[Fault | None]] = {}
        self.lost: dict[str, list[Fault]] = {}
        self.operations: list[str] = []
        self.valid: set[str] = set()  # authorizations
        self.forgets = False  # transaction ids, as after a week
        self._server.next_fault = self._next  # type: ignore[method-assign]

    def live(self) -> list[str]:
        """Envelopes that somebody can still sign, or both have signed."""
        return [each for each, envelope in self.envelopes.items() if envelope["status"] in ("sent", "completed")]

    def only(self) -> str:
        (envelope_id,) = self.envelopes
        return envelope_id

    def set(self, envelope_id: str, state: str, **signed: datetime) -> None:
        """`signed`: client, lawyer."""
        envelope = self.envelopes[envelope_id]
        envelope["status"] = state
        for signer in envelope["recipients"]["signers"]:
            if at := signed.get({"1": "client", "2": "lawyer"}[signer["recipientId"]]):
                # seven digits, as DocuSign writes them
                signer |= {
                    "status": "completed",
                    "signedDateTime": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.0000000Z"),
                }

    def _next(self, request: Request) -> Fault:
        operation = operation_of(request)
        with self._server.lock:
            self.requests.append(request)
            self.operations.append(operation)
            trouble = self.trouble.get(operation)
            if trouble and (fault := trouble.pop(0) if len(trouble) > 1 else trouble[0]):
                return fault
            answer, lost = self._answer(operation, request), self.lost.get(operation)
            return lost.pop(0) if lost else answer

    def _answer(self, operation: str, request: Request) -> Fault:
        if operation == "token":
            return self._token(request)
        if request.headers.get("authorization") not in self.valid:
            return status(401)
        return getattr(self, f"_{operation}")(request)

    def _token(self, request: Request) -> Fault:
        import jwt

        form = parse_qs(request.body.decode())
        audience = urlsplit(self.url).netloc
        claims = jwt.decode(form["assertion"][0], self.public_key, algorithms=["RS256"], audience=audience)
        if (claims["iss"], claims["sub"], claims["scope"]) != (INTEGRATION, USER, "signature impersonation"):
            return json_answer({"error": "consent_required"}, 400)
        token = f"token-{self.operations.count('token')}"
        self.valid.add(f"Bearer {token}")
        return json_answer({"access_token": token, "token_type": "Bearer", "expires_in": 3600})

    def _create_envelope(self, request: Request) -> Fault:
        definition = request.json()
        envelope_id = str(uuid.uuid4())
        signers = [{**signer, "status": "sent"} for signer in definition["recipients"]["signers"]]
        self.envelopes[envelope_id] = {
            "envelopeId": envelope_id, "status": definition["status"], "recipients": {"signers": signers},
            "transactionId": definition["transactionId"], "customFields": definition["customFields"],
            "documents": definition["documents"], "created": datetime.now(UTC),
        }  # fmt: skip
        return json_answer({"envelopeId": envelope_id, "status": "sent", "uri": f"/envelopes/{envelope_id}"}, 201)

    def _find_envelope(self, request: Request) -> Fault:
        query = dict(parse_qsl(urlsplit(request.path).query))
        found = []
        for each in self.envelopes.values():
            fields = {f"{f['name']}={f['value']}" for f in each["customFields"]["textCustomFields"]}
            known = (
                query["custom_field"] in fields
                if "custom_field" in query
                else each["transactionId"] in query["transaction_ids"].split(",") and not self.forgets
            )
            if known and each["created"] >= datetime.fromisoformat(query["from_date"]):
                found.append({"envelopeId": each["envelopeId"], "status": each["status"]})
        size = {"resultSetSize": str(len(found)), "totalSetSize": str(len(found)), "startPosition": "0"}
        return json_answer({**size, "envelopes": found} if found else size)

    def _read_envelope(self, request: Request) -> Fault:
        envelope = self.envelopes.get(urlsplit(request.path).path.rsplit("/", 1)[1])
        if envelope is None:
            return status(404)
        return json_answer({key: envelope[key] for key in ("envelopeId", "status", "recipients")})

    def _void_envelope(self, request: Request) -> Fault:
        envelope = self.envelopes[request.path.rsplit("/", 1)[1]]
        if envelope["status"] != "sent" or request.json()["status"] != "voided" or not request.json()["voidedReason"]:
            return json_answer({"errorCode": "ENVELOPE_CANNOT_VOID_INVALID_STATE"}, 400)
        envelope["status"] = "voided"
        return json_answer({"envelopeId": envelope["envelopeId"]})


def operation_of(request: Request) -> str:
    path, envelopes = urlsplit(request.path).path, f"/restapi/v2.1/accounts/{ACCOUNT}/envelopes"
    if (request.method, path) == ("POST", "/oauth/token"):
        return "token"
    one = path.startswith(f"{envelopes}/")
    return {
        ("POST", False): "create_envelope", ("GET", False): "find_envelope", ("GET", True): "read_envelope",
        ("PUT", True): "void_envelope",
    }[request.method, one]  # fmt: skip


@pytest.fixture(scope="session")
def keys() -> tuple[str, bytes]:
    """(private, public), as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public


@pytest.fixture
def fake(keys: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDocuSign]:
    monkeypatch.setenv("DOCUSIGN_PRIVATE_KEY", keys[0].replace("\n", "\\n"))
    monkeypatch.setenv("NO_PROXY", ",".join(filter(None, ["127.0.0.1", os.environ.get("NO_PROXY")])))
    with FakeDocuSign(keys[1]) as server:
        yield server


def client(
    url: str, database_url: str | None = None, *, timeout_seconds: float = 10.0, deadline_seconds: float = 20.0,
    fallback_enabled: bool = True, breaker_threshold: int = 5,
) -> DocuSign:  # fmt: skip
    """The resource against a server. With little backoff, but for Dagster's runs: they make it anew from its fields."""
    made = DocuSign(
        base_url=f"{url}/restapi", auth_url=url, account_id=ACCOUNT, user_id=USER, integration_key=INTEGRATION,
        timeout_seconds=timeout_seconds, deadline_seconds=deadline_seconds, fallback_enabled=fallback_enabled,
        database_url=database_url,
    )  # fmt: skip
    made._service = replace(made.service, backoff_seconds=0.01, breaker_threshold=breaker_threshold)
    return made


@pytest.fixture
def docusign(fake: FakeDocuSign, database_url: str) -> DocuSign:
    return client(fake.url, database_url)


@pytest.fixture
def connection(database_url: str) -> Iterator[Any]:
    with closing(open_connection(database_url)) as opened:
        yield opened


def add_contract(url: str, *, offer: str | None = "interested", fee: Any = None, **values: Any) -> str:
    """A contract whose lawyer has accepted, of a client and a lawyer with name and e-mail; `values`: of its row."""
    people: dict[str, Any] = {
        "client": "João Antônio da Silva", "client_email": "joao@example.com",
        "lawyer": "Ângela Conceição", "lawyer_email": "angela@example.com", "oab": "OAB/SP 123.456",
    }  # fmt: skip
    people = {key: values.pop(key, value) for key, value in people.items()}
    with connect(url) as connection:
        market = Marketplace(connection, NOW)
        client_id = market._insert("profiles", full_name=people["client"], email=people["client_email"])
        lawyer = market.lawyer(name=people["lawyer"], oab_number=people["oab"])
        market._insert("profiles", id=lawyer, full_name=people["lawyer"], email=people["lawyer_email"])
        case = market.case(client_id=client_id, title="Demissão sem justa causa", area="Trabalhista")
        if offer:
            market.offer(case, lawyer, status=offer)
        return market.contract(case, lawyer, **{
            "client_id": client_id, "status": "pending-signature", "created_at": NOW - timedelta(hours=1),
            "fee_model": fee or {"type": "success", "percent": 20}, **values,
        })  # fmt: skip


def rows(url: str, query: str, *parameters: Any) -> list[tuple]:
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(query, parameters or None)
        return cursor.fetchall() if cursor.description else []


def counted(url: str) -> dict[str, float]:
    """name and label values → value, of the metrics of contracts and fallbacks."""
    found = rows(
        url, "SELECT name, labels, value FROM litgo.metric_state WHERE name ~ '^(contract|fallback)' ORDER BY 1"
    )
    return {" ".join([name, *(labels[key] for key in sorted(labels))]): value for name, labels, value in found}


def messages(url: str) -> list[str]:
    """kind of each message, with the number of recipients."""
    found = rows(url, "SELECT kind, count(*) FROM litgo.outbox GROUP BY 1 ORDER BY 1")
    return [f"{kind} {number}" for kind, number in found]


def request_row(url: str, contract: str) -> tuple:
    """(status, method, reason) of our row, then the contract's status."""
    return rows(
        url,
        "SELECT r.status, r.method, r.reason, c.status FROM contracts c "
        "LEFT JOIN litgo.contract_requests r ON r.contract_id = c.id WHERE c.id = %s", contract,
    )[0]  # fmt: skip


def sent_document(fake: FakeDocuSign) -> str:
    """SHA-256 of the one envelope's document."""
    (envelope,) = fake.envelopes.values()
    return hashlib.sha256(base64.b64decode(envelope["documents"][0]["documentBase64"])).hexdigest()
