"""DocuSign's end of the line on loopback, which keeps its envelopes."""

import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from litgo_pipelines.simulation.faults import Fault, FaultServer, Request, json_answer, status

ACCOUNT, USER, INTEGRATION = "account-1", "user-1", "integration-1"


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
            "envelopeId": envelope_id,
            "status": definition["status"],
            "recipients": {"signers": signers},
            "transactionId": definition["transactionId"],
            "customFields": definition["customFields"],
            "documents": definition["documents"],
            "created": datetime.now(UTC),
        }
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
        told = ("envelopeId", "status", "recipients", "voidedReason", "completedDateTime")
        return json_answer({key: envelope[key] for key in told if key in envelope})

    def _void_envelope(self, request: Request) -> Fault:
        envelope = self.envelopes[request.path.rsplit("/", 1)[1]]
        if envelope["status"] != "sent" or request.json()["status"] != "voided" or not request.json()["voidedReason"]:
            return json_answer({"errorCode": "ENVELOPE_CANNOT_VOID_INVALID_STATE"}, 400)
        envelope |= {"status": "voided", "voidedReason": request.json()["voidedReason"]}
        return json_answer({"envelopeId": envelope["envelopeId"]})


def operation_of(request: Request) -> str:
    path, envelopes = urlsplit(request.path).path, f"/restapi/v2.1/accounts/{ACCOUNT}/envelopes"
    if (request.method, path) == ("POST", "/oauth/token"):
        return "token"
    one = path.startswith(f"{envelopes}/")
    return {
        ("POST", False): "create_envelope",
        ("GET", False): "find_envelope",
        ("GET", True): "read_envelope",
        ("PUT", True): "void_envelope",
    }[request.method, one]
