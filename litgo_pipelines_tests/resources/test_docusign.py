"""DocuSign's client over real HTTP on loopback: what is sent, judged by the vendor's specification; every fault × every
operation; and that a lost answer never makes a second envelope."""

import base64
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt
import pytest

from litgo_pipelines.resources.bounded import Answer
from litgo_pipelines.resources.docusign import DocuSign, Draft, EnvelopeGone, Signer, refusal
from litgo_pipelines.resources.external_service import CircuitOpen, ServiceFailure
from litgo_pipelines.simulation import faults
from litgo_pipelines.simulation.faults import FaultServer
from litgo_pipelines_tests.worlds import specifications
from litgo_pipelines_tests.worlds.contracts import ACCOUNT, FakeDocuSign, client, fake, keys

__all__ = ["fake", "keys"]
NOW = datetime.now(UTC)
TRANSACTION = "6f0cbb3a-5f3e-5d5c-8f3b-0d8f1a7f6a10"
DRAFT = Draft(
    TRANSACTION,
    "Contrato",
    "Olá! Seu contrato está pronto.",
    "contrato.pdf",
    b"%PDF-1.7 secret-document",
    [Signer("João secret-name", "joao@example.com", "/cliente1/"), Signer("Ângela", "angela@example.com", "/lawyer1/")],
    NOW - timedelta(minutes=1),
)
SLOW = (faults.hang, faults.drip)
SECRETS = ("secret-document", "secret-name", "example.com", "token-1", "PRIVATE KEY", "secret-in-body")


def impatient(fake: FakeDocuSign, fault: faults.Fault) -> DocuSign:
    """Waits only as long as has to be, for faults that are slow."""
    return client(fake.url, timeout_seconds=0.3, deadline_seconds=0.8) if fault in SLOW else client(fake.url)


def failure(call: Any) -> ServiceFailure:
    with pytest.raises(ServiceFailure) as caught:
        call()
    assert not [secret for secret in SECRETS if secret in str(caught.value)]
    return caught.value


@pytest.fixture(scope="module")
def specification() -> dict[str, Any]:
    """Definitions that take no other name than the vendor's own: none of them says what is required."""
    found = specifications.read("docusign-envelopes.json")
    for schema in found["definitions"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return found


def errors(specification: dict[str, Any], name: str, body: Any) -> list[str]:
    import jsonschema

    schema = {"$ref": f"#/definitions/{name}", "definitions": specification["definitions"]}
    return [error.message[:200] for error in jsonschema.Draft4Validator(schema).iter_errors(body)]


def test_requests_are_as_docusign_specifies(fake: FakeDocuSign, specification: dict[str, Any]) -> None:
    docusign = client(fake.url)
    envelope = docusign.send(DRAFT, look_first=True)
    assert envelope == fake.only()
    assert [each.envelope_id for each in docusign.find(TRANSACTION, DRAFT.since)] == [envelope]
    assert docusign.read(envelope).status == "sent"
    docusign.void(envelope, "engano")
    assert fake.operations == [
        "token",
        "find_envelope",
        "create_envelope",
        "find_envelope",
        "read_envelope",
        "void_envelope",
    ]
    base = urlsplit(f"{specification['schemes'][0]}://x{specification['basePath']}").path
    for request in fake.requests[1:]:
        url = urlsplit(request.path)
        path = url.path.removeprefix(base).replace(ACCOUNT, "{accountId}").replace(envelope, "{envelopeId}")
        described = specification["paths"][path][request.method.lower()]
        queries = {each["name"] for each in described["parameters"] if each["in"] == "query"}
        assert set(dict(parse_qsl(url.query))) <= queries
        bodies = [each["schema"]["$ref"].rsplit("/", 1)[1] for each in described["parameters"] if each["in"] == "body"]
        assert bool(request.body) == bool(bodies)
        for name in bodies:
            assert errors(specification, name, request.json()) == []
    body = fake.requests[2].json()
    assert base64.b64decode(body["documents"][0]["documentBase64"]) == DRAFT.pdf
    assert [signer["routingOrder"] for signer in body["recipients"]["signers"]] == ["1", "2"]
    assert errors(specification, "envelopeDefinition", {**body, "transactionID": "x"})
    body["recipients"]["signers"][0]["tabs"]["signHereTabs"][0]["anchor"] = "x"
    assert errors(specification, "envelopeDefinition", body)


def test_the_loopback_server_answers_as_docusign_specifies(fake: FakeDocuSign, specification: dict[str, Any]) -> None:
    """So that our reader is tested on what DocuSign may really say."""
    envelope = client(fake.url).send(DRAFT, look_first=False)
    fake.set(envelope, "completed", client=NOW, lawyer=NOW)
    shown = {key: fake.envelopes[envelope][key] for key in ("envelopeId", "status", "recipients")}
    assert errors(specification, "envelope", shown) == []
    assert errors(specification, "envelopesInformation", {"resultSetSize": "1", "envelopes": [shown]}) == []
    seen = client(fake.url).read(envelope)
    assert seen.signed == {1: NOW.replace(microsecond=0), 2: NOW.replace(microsecond=0)}


def test_a_token_is_used_again_and_replaced_when_it_is_revoked(fake: FakeDocuSign) -> None:
    docusign = client(fake.url)
    envelope = docusign.send(DRAFT, look_first=False)
    docusign.read(envelope)
    assert fake.operations.count("token") == 1
    fake.valid.clear()
    assert docusign.read(envelope).status == "sent"
    assert fake.operations.count("token") == 2
    fake.trouble = {"read_envelope": [faults.status(401)]}
    assert failure(lambda: docusign.read(envelope)).reason == "rejected"


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("token", b'{"access_token": "x", "expires_in": 1' + b"0" * 400 + b"}"),
        ("token", b'{"access_token": "x", "expires_in": -1e400}'),
        ("find_envelope", b'{"resultSetSize": 1e400}'),
    ],
)
def test_a_number_beyond_all_numbers_is_an_answer_we_cannot_read(
    fake: FakeDocuSign, operation: str, body: bytes
) -> None:
    fake.trouble = {operation: [faults.answer(body)]}
    found = failure(lambda: client(fake.url).send(DRAFT, look_first=True))
    assert found.reason == "invalid"
    assert not fake.envelopes


@pytest.mark.parametrize("what", ["consent", "no key", "another key", "not configured"])
def test_a_grant_that_is_refused_says_what_to_do(
    fake: FakeDocuSign, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    docusign, told = client(fake.url), "consent"
    if what == "consent":
        docusign = docusign.model_copy(update={"user_id": "somebody"})
        docusign._service = client(fake.url).service
    elif what == "no key":
        monkeypatch.setenv("DOCUSIGN_PRIVATE_KEY", "-----BEGIN nothing")
        told = "not a private RSA key"
    elif what == "another key":
        fake.trouble, told = {"token": [faults.status(400)]}, "do not belong together"
    else:
        monkeypatch.delenv("DOCUSIGN_PRIVATE_KEY")
        told = "set all of DOCUSIGN_*"
    assert docusign.configured == (what != "not configured")
    found = failure(lambda: docusign.send(DRAFT, look_first=False))
    assert found.reason == "rejected"
    assert told in str(found)
    assert not fake.envelopes
    assert len(fake.operations) <= 1


@pytest.mark.parametrize("wrong_by", [-45 * 60, -240, 240])
def test_a_grant_is_valid_though_our_clock_is_wrong(
    fake: FakeDocuSign, monkeypatch: pytest.MonkeyPatch, wrong_by: float
) -> None:
    """The loopback server takes no grant that was issued in its future or is over, as DocuSign."""
    clock = SimpleNamespace(time=lambda: time.time() + wrong_by, monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr("litgo_pipelines.resources.docusign.time", clock)
    client(fake.url).send(DRAFT, look_first=False)
    (form,) = [parse_qs(request.body.decode()) for request in fake.requests if request.path == "/oauth/token"]
    claims = jwt.decode(form["assertion"][0], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] <= 3600  # DocuSign's limit


TRANSIENT = [
    *((fault, "timeout") for fault in SLOW),
    *((fault, "unavailable") for fault in (faults.reset, faults.hang_up, faults.cut_short, faults.not_http)),
    *((faults.status(code), "unavailable") for code in (409, 500, 503)),
    (faults.status(429), "rate_limited"),
]
UNREADABLE = [
    (fault, "invalid")
    for fault in (
        faults.html,
        faults.truncated_json,
        faults.not_a_number,
        faults.json_answer({}),
        faults.json_answer([]),
        faults.json_answer({"envelopeId": "../x", "access_token": 1, "status": None, "envelopes": None}),
    )
]
PERMANENT = [(faults.status(code), "rejected") for code in (302, 400, 403, 404, 422)]
FAULTS = [*TRANSIENT, *UNREADABLE, *PERMANENT]


@pytest.mark.parametrize("operation", ["token", "find_envelope", "read_envelope", "void_envelope"])
def test_every_fault_of_what_creates_nothing(fake: FakeDocuSign, operation: str) -> None:
    """Three attempts where it may pass, one where it cannot, and the envelope as it was."""
    envelope = client(fake.url).send(DRAFT, look_first=False)
    for fault, reason in FAULTS:
        if fault in SLOW and operation in ("find_envelope", "void_envelope"):
            continue  # waiting is the policy's, and the same for all
        docusign = impatient(fake, fault)
        fake.trouble, fake.operations = {operation: [fault]}, []
        call = {
            "token": lambda one=docusign: one.read(envelope),
            "read_envelope": lambda one=docusign: one.read(envelope),
            "find_envelope": lambda one=docusign: one.find(TRANSACTION, DRAFT.since),
            "void_envelope": lambda one=docusign: one.void(envelope, "engano"),
        }[operation]
        started = time.monotonic()
        assert failure(call).reason == reason
        assert time.monotonic() - started < docusign.deadline_seconds + 5
        expected = 1 if (fault, reason) not in TRANSIENT else 3
        assert fake.operations.count(operation) in ((2, 3) if fault in SLOW else (expected,))
        assert fake.live() == [envelope]


def test_a_page_that_is_not_found_is_no_envelope_that_is_gone(fake: FakeDocuSign) -> None:
    """A proxy or a wrong base URL answers 404 as well: the envelope may still be signed."""
    docusign = client(fake.url)
    envelope = docusign.send(DRAFT, look_first=False)
    fake.trouble = {"void_envelope": [faults.answer(b"<h1>Not Found</h1>", 404, "text/html"), faults.status(404)]}
    for _ in range(2):
        assert not isinstance(failure(lambda: docusign.void(envelope, "engano")), EnvelopeGone)
    fake.trouble = {"void_envelope": [faults.json_answer({"errorCode": "ENVELOPE_DOES_NOT_EXIST"}, 404)]}
    assert isinstance(failure(lambda: docusign.void(envelope, "engano")), EnvelopeGone)


@pytest.mark.parametrize("arrived", [False, True])
def test_every_fault_of_creation_leaves_one_envelope_at_most(fake: FakeDocuSign, arrived: bool) -> None:
    """`arrived`: DocuSign has created the envelope, and its answer comes to nothing."""
    for fault, reason in FAULTS:
        docusign = impatient(fake, fault)
        fake.envelopes, fake.operations = {}, []
        fake.trouble = {} if arrived else {"create_envelope": [fault]}
        fake.lost = {"create_envelope": [fault]} if arrived else {}
        if arrived and reason not in ("rejected", "rate_limited"):  # those answers say that nothing was created
            assert docusign.send(DRAFT, look_first=False) == fake.only()
            assert fake.operations.count("create_envelope") == 1
        elif not arrived:
            assert failure(lambda one=docusign: one.send(DRAFT, look_first=False)).reason == reason
            expected = 3 if (fault, reason) in TRANSIENT and fault not in SLOW else 1
            assert fake.operations.count("create_envelope") == expected
            assert not fake.envelopes


def test_what_passes_is_tried_again_after_a_look(fake: FakeDocuSign) -> None:
    docusign = client(fake.url)
    fake.trouble = {"create_envelope": [faults.status(503), faults.too_many_requests(0), None]}
    assert docusign.send(DRAFT, look_first=False) == fake.only()
    assert fake.operations == ["token", "create_envelope", "find_envelope", "create_envelope", "create_envelope"]
    assert docusign.send(DRAFT, look_first=True) == docusign.send(DRAFT, look_first=True) == fake.only()


def test_a_look_that_fails_creates_nothing(fake: FakeDocuSign) -> None:
    """A failed read is not an empty result."""
    for fault, reason in FAULTS:
        if fault in SLOW:
            continue
        fake.trouble = {"find_envelope": [fault]}
        assert failure(lambda: client(fake.url).send(DRAFT, look_first=True)).reason == reason
    assert "create_envelope" not in fake.operations


def test_after_a_week_the_envelope_is_found_all_the_same(fake: FakeDocuSign) -> None:
    """DocuSign forgets transaction ids after seven days."""
    docusign = client(fake.url)
    envelope = docusign.send(DRAFT, look_first=False)
    fake.forgets = True
    assert docusign.find(TRANSACTION, NOW) == []
    assert [each.envelope_id for each in docusign.find(TRANSACTION, NOW - timedelta(days=8))] == [envelope]
    assert docusign.find("5c9c2b8e-0000-5000-8000-000000000000", NOW - timedelta(days=8)) == []


def test_a_live_envelope_goes_before_one_that_has_ended(fake: FakeDocuSign) -> None:
    docusign = client(fake.url)
    first = docusign.send(DRAFT, look_first=False)
    fake.set(first, "voided")
    assert docusign.send(DRAFT, look_first=True) == first
    second = docusign.send(DRAFT, look_first=False)
    assert docusign.send(DRAFT, look_first=True) == second


def test_an_envelope_said_to_be_complete_must_name_both_signatures(fake: FakeDocuSign) -> None:
    docusign = client(fake.url)
    envelope = docusign.send(DRAFT, look_first=False)
    fake.set(envelope, "completed", client=NOW)
    assert failure(lambda: docusign.read(envelope)).reason == "invalid"


@pytest.mark.parametrize(("reset", "seconds"), [("1000000000", 3600), ("0", 3600), ("soon", 3600), ("120", 120)])
def test_a_limit_whose_end_is_over_is_waited_for_as_long_as_it_is(reset: str, seconds: float) -> None:
    body = b'{"errorCode": "HOURLY_APIINVOCATION_LIMIT_EXCEEDED"}'
    told = refusal(Answer(400, {"content-type": "application/json", "x-ratelimit-reset": reset}, body))
    assert told.retry_after == seconds


def test_with_the_breaker_open_nobody_is_asked(fake: FakeDocuSign, database_url: str) -> None:
    fake.trouble = {"create_envelope": [faults.status(500)], "find_envelope": [faults.status(500)]}
    docusign = client(fake.url, database_url)
    failure(lambda: docusign.send(DRAFT, look_first=False))
    failure(lambda: docusign.send(DRAFT, look_first=False))
    fake.operations = []
    assert isinstance(failure(lambda: docusign.send(DRAFT, look_first=True)), CircuitOpen)
    assert not fake.operations


def test_a_certificate_that_is_not_trusted(fake: FakeDocuSign, tmp_path: Path) -> None:
    with FaultServer(faults.json_answer({}), certificate=faults.self_signed(tmp_path / "tls.pem")) as server:
        found = failure(lambda: client(server.url).send(DRAFT, look_first=False))
    assert (found.reason, server.requests) == ("certificate", [])


def test_the_resource_shows_no_secret(fake: FakeDocuSign) -> None:
    docusign = client(fake.url)
    docusign.send(DRAFT, look_first=False)
    shown = f"{docusign!r} {docusign.model_dump()}"
    assert "token-1" not in shown
    assert "PRIVATE" not in shown
