"""SendGrid's client: judged by SendGrid's own description, and against every fault."""

import base64
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from litgo_pipelines.resources.external_service import ServiceFailure
from litgo_pipelines.resources.sendgrid import LISTS, List, SendGrid, Suppressed
from litgo_pipelines.simulation import faults
from litgo_pipelines.simulation.faults import FaultServer
from litgo_pipelines_tests.worlds import specifications

ACCEPTED = faults.answer(b"", 202, X_Message_Id="mail-1")
SLOW = (faults.hang, faults.drip, faults.drip_headers)
MAIL: dict[str, Any] = {
    "to": "ana@example.com",
    "name": "Ana Souza",
    "subject": "Olá",
    "text": "secret-text",
    "html": "<p>secret-text</p>",
    "reference": "d1",
}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDGRID_API_KEY", "secret-key")


def mail(url: str, *, timeout: float = 5.0, **options: Any) -> str:
    client = SendGrid(base_url=url, timeout_seconds=timeout, deadline_seconds=5.0)
    return client.mail(**{**MAIL, **options})


def test_the_request_is_as_sendgrid_describes_it() -> None:
    import jsonschema

    specification = specifications.read("sendgrid-mail.json")
    schema = specification["components"]["requestBodies"]["PostMailSend"]["content"]["application/json"]["schema"]
    judge = jsonschema.Draft202012Validator(
        {**schema, "components": specification["components"]}, format_checker=jsonschema.FormatChecker()
    )
    with FaultServer(ACCEPTED) as server:
        assert mail(server.url) == "mail-1"
        assert mail(server.url, name=None, reply_to="equipe@example.com", pdfs={"contrato.pdf": b"%PDF"}) == "mail-1"
        requests = list(server.requests)
    for request in requests:
        assert request.method.lower() in specification["paths"][request.path]
        assert "202" in specification["paths"][request.path]["post"]["responses"]
        assert request.headers["authorization"] == "Bearer secret-key"
        body = request.json()
        assert [error.message for error in judge.iter_errors(body)] == []
        assert set(body) <= set(schema["properties"])  # any other name would pass
        to = schema["properties"]["personalizations"]["items"]["properties"]
        assert set(body["personalizations"][0]) <= set(to)
        assert list(judge.iter_errors({**body, "personalizations": [{}]}))
        assert list(judge.iter_errors({**body, "from": {"email": "nobody"}}))
        # an account's own setting would put a link under a contract that takes its reader off every list
        assert body["tracking_settings"]["subscription_tracking"] == {"enable": False}
    plain, whole = (request.json() for request in requests)
    assert [part["type"] for part in plain["content"]] == ["text/plain", "text/html"]  # SendGrid wants this order
    assert "attachments" not in plain
    (file,) = whole["attachments"]
    assert set(file) <= set(schema["properties"]["attachments"]["items"]["properties"])
    assert (base64.b64decode(file["content"]), file["type"]) == (b"%PDF", "application/pdf")
    assert whole["personalizations"][0] == {"to": [{"email": "ana@example.com"}], "custom_args": {"delivery_id": "d1"}}
    assert whole["reply_to"] == {"email": "equipe@example.com"}


# What SendGrid's description (twilio/sendgrid-oai, tsg_suppressions_v3.json) says of GET /v3/suppression/…: the rows of
# each list, none of whose columns is required of bounces and invalid addresses; and the pages.
ROWS: dict[List, dict[str, Any]] = {
    "bounces": {"created": 1250337600, "email": "ana@example.com", "reason": "550 5.1.1 secret", "status": "5.1.1"},
    "blocks": {"created": 1443651154, "email": "ana@example.com", "reason": "no route to host", "status": "4.0.0"},
    "invalid_emails": {"created": 1620141015, "email": "ana@example.com", "reason": "Mail domain is unknown"},
    "spam_reports": {"created": 1443651141, "email": "ana@example.com", "ip": "10.63.202.100"},
    "unsubscribes": {"created": 1443651125, "email": "ana@example.com"},
}
LIMIT, PARAMETERS = 500, {"start_time", "end_time", "limit", "offset", "email"}


def suppressed(url: str, name: List, *, timeout: float = 5.0) -> list[Suppressed]:
    return SendGrid(base_url=url, timeout_seconds=timeout, deadline_seconds=5.0).suppressed(name)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_asked_for_and_read_as_sendgrid_describes_it(name: List) -> None:
    pages = [[{**ROWS[name], "email": f"{page}-{n}@example.com"} for n in range(LIMIT)] for page in range(2)]
    with FaultServer(*(faults.json_answer(page) for page in [*pages, [ROWS[name]]])) as server:
        found = suppressed(server.url, name)
        requests = list(server.requests)
    assert len(found) == 2 * LIMIT + 1
    assert len({one.email for one in found}) == len(found)
    assert found[-1] == Suppressed("ana@example.com", datetime.fromtimestamp(ROWS[name]["created"], UTC))
    asked = []
    for request in requests:
        path, _, query = request.path.partition("?")
        parameters = dict(parse_qsl(query, strict_parsing=True))
        assert (request.method, path) == ("GET", f"/v3/suppression/{name}")
        assert set(parameters) <= PARAMETERS
        assert 1 <= int(parameters["limit"]) <= LIMIT
        assert request.headers["accept"] == "application/json"  # required
        assert request.headers["authorization"] == "Bearer secret-key"
        asked.append(int(parameters["offset"]))
    assert asked == [0, LIMIT, 2 * LIMIT]  # multiples of the page size


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("page", [[], LIMIT])
def test_a_list_ends_with_a_page_that_is_not_full(name: List, page: list[Any] | int) -> None:
    first = [{**ROWS[name], "email": f"{n}@example.com"} for n in range(page)] if isinstance(page, int) else page
    with FaultServer(faults.json_answer(first), faults.json_answer([])) as server:
        assert len(suppressed(server.url, name)) == len(first)
        assert len(server.requests) == (2 if first else 1)


@pytest.mark.parametrize(
    "body",
    [
        {"errors": [{"field": None, "message": "secret"}]},
        [{"created": 1, "email": None}],
        [{"created": "secret", "email": "ana@example.com"}],
        [{"created": 10**20, "email": "ana@example.com"}],
        [{"email": "ana@example.com"}],
        ["ana@example.com"],
        "secret",
        None,
    ],
)
def test_what_is_no_list_of_addresses_is_a_failure_and_no_empty_list(body: object) -> None:
    with FaultServer(faults.json_answer(body)) as server, pytest.raises(ServiceFailure) as caught:
        suppressed(server.url, "bounces")
    assert caught.value.reason == "invalid"
    assert "secret" not in str(caught.value)
    assert "ana" not in str(caught.value)


def test_a_row_that_names_nobody_stops_no_other() -> None:
    rows = [
        ROWS["bounces"],
        {"created": 1, "email": None},
        {"created": 1, "email": ""},
        {"email": "bia@example.com"},
        {"created": "1443651125.0", "email": " cia@example.com "},
        None,
        {"created": {}, "email": "dia@example.com"},
    ]
    with FaultServer(faults.json_answer(rows)) as server:
        found = {one.email: one.since for one in suppressed(server.url, "bounces")}
    assert list(found) == ["ana@example.com", "bia@example.com", "cia@example.com", "dia@example.com"]
    assert found["cia@example.com"] == datetime.fromtimestamp(1443651125, UTC)
    assert found["bia@example.com"] == found["dia@example.com"] == datetime.fromtimestamp(0, UTC)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (faults.status(401), "rejected"),
        (faults.status(503), "unavailable"),
        (faults.html, "invalid"),
        (faults.cut_short, "unavailable"),
    ],
)
def test_a_list_that_is_not_read_to_its_end_is_a_failure(fault: faults.Fault, reason: str) -> None:
    full = faults.json_answer([{**ROWS["blocks"], "email": f"{n}@example.com"} for n in range(LIMIT)])
    with FaultServer(full, fault) as server, pytest.raises(ServiceFailure) as caught:
        suppressed(server.url, "blocks")
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        *((fault, "timeout") for fault in SLOW),
        *((faults.status(code), "unavailable") for code in (408, 409, 425, 500, 502, 503, 504)),
        *((fault, "unavailable") for fault in (faults.reset, faults.hang_up, faults.cut_short, faults.not_http)),
        *((faults.status(code), "rejected") for code in (301, 400, 401, 403, 404, 405, 413, 422)),
        *((fault, "invalid") for fault in (faults.html, faults.truncated_json, faults.endless, faults.json_answer({}))),
        (faults.too_many_requests(60), "rate_limited"),
        (faults.compressed, "unavailable"),
    ],
)
def test_one_request_one_failure_in_time(fault: faults.Fault, reason: str) -> None:
    """Never repeated here: SendGrid would send it twice."""
    started = time.monotonic()
    with FaultServer(fault) as server:
        with pytest.raises(ServiceFailure) as caught:
            mail(server.url, timeout=0.7 if fault in SLOW else 5.0)
        assert len(server.requests) == 1
    assert time.monotonic() - started < 5 + 5
    assert (caught.value.reason, caught.value.attempts) == (reason, 1)
    assert "secret" not in str(caught.value)
    assert "ana" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (401, "Maximum credits exceeded", "credits_exceeded, the plan's messages are used up"),
        (401, "Authenticated user is not authorized to send mail", "sending_forbidden"),
        (403, "The from address does not match a verified Sender Identity. secret", "verify MAIL_FROM"),
        (403, "access forbidden", "the key lacks a right"),
        (401, "The provided authorization grant is invalid, expired, or revoked", "check the credentials"),
        (403, "secret", "check the credentials"),
    ],
)
def test_a_refusal_that_is_not_the_keys_fault_says_what_to_do(status: int, said: str, told: str) -> None:
    body = {"errors": [{"message": said, "field": None, "help": None}]}
    with FaultServer(faults.json_answer(body, status)) as server, pytest.raises(ServiceFailure) as caught:
        mail(server.url)
    assert (caught.value.reason, caught.value.status) == ("rejected", status)
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)


def test_accepted_without_an_id() -> None:
    with FaultServer(faults.answer(b"", 202)) as server:
        assert mail(server.url) == ""


def test_a_certificate_that_is_not_trusted(tmp_path: Path) -> None:
    with FaultServer(ACCEPTED, certificate=faults.self_signed(tmp_path / "server.pem")) as server:
        with pytest.raises(ServiceFailure) as caught:
            mail(server.url)
        assert server.requests == []
    assert caught.value.reason == "certificate"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SendGrid().missing is None
    monkeypatch.delenv("SENDGRID_API_KEY")
    assert SendGrid().missing == "SENDGRID_API_KEY"
