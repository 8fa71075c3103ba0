"""SendGrid's client: judged by SendGrid's own description, and against every fault."""

import base64
import time
from pathlib import Path
from typing import Any

import pytest

from litgo_pipelines.resources.external_service import ServiceFailure
from litgo_pipelines.resources.sendgrid import SendGrid
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
    plain, whole = (request.json() for request in requests)
    assert [part["type"] for part in plain["content"]] == ["text/plain", "text/html"]  # SendGrid wants this order
    assert "attachments" not in plain
    (file,) = whole["attachments"]
    assert set(file) <= set(schema["properties"]["attachments"]["items"]["properties"])
    assert (base64.b64decode(file["content"]), file["type"]) == (b"%PDF", "application/pdf")
    assert whole["personalizations"][0] == {"to": [{"email": "ana@example.com"}], "custom_args": {"delivery_id": "d1"}}
    assert whole["reply_to"] == {"email": "equipe@example.com"}


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
