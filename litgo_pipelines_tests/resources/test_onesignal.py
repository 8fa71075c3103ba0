"""OneSignal's client: judged by OneSignal's own description, and against every fault."""

import time
from pathlib import Path
from typing import Any

import pytest

from litgo_pipelines.resources.external_service import ServiceFailure
from litgo_pipelines.resources.onesignal import OneSignal
from litgo_pipelines.simulation import faults
from litgo_pipelines.simulation.faults import FaultServer
from litgo_pipelines_tests.worlds import specifications
from litgo_pipelines_tests.worlds.specifications import errors

APP, KEY = "8250eaf6-1a58-489e-b136-7c74a864b434", "1dd608f2-c6a1-41e3-851d-000c2940e62c"
CREATED = {"id": "b98881cc-1e94-4366-bbd9-db8f3429292b"}
SLOW = (faults.hang, faults.drip, faults.drip_headers)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESIGNAL_API_KEY", "secret-key")


def push(url: str, **options: Any) -> str | None:
    client = OneSignal(app_id=APP, base_url=url, **{"timeout_seconds": 0.7, "deadline_seconds": 2.0, **options})
    return client.push(
        subscription="secret-token", title="Título", text="Olá, você", idempotency_key=KEY, ttl_seconds=60
    )


@pytest.fixture(scope="module")
def specification() -> dict[str, Any]:
    return specifications.read("onesignal-notifications.json")


def properties(specification: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    """Every name a schema with its parts knows: the description allows any other, a misspelt one would pass."""
    if "$ref" in schema:
        schema = specification["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    parts = [properties(specification, part) for how in ("allOf", "anyOf") for part in schema.get(how, [])]
    return set(schema.get("properties", {})).union(*parts)


def test_the_request_is_as_onesignal_describes_it(specification: dict[str, Any]) -> None:
    assert errors(specification, "CreateNotificationSuccessResponse", CREATED) == []
    with FaultServer(faults.json_answer(CREATED)) as server:
        assert push(server.url) == CREATED["id"]
        (request,) = server.requests
    assert request.method.lower() in specification["paths"][request.path]
    assert request.headers["authorization"] == "Key secret-key"
    body = request.json()
    assert errors(specification, "Notification", body) == []
    assert set(body) <= properties(specification, {"$ref": "#/components/schemas/Notification"})
    assert set(body["contents"]) | set(body["headings"]) == {"en", "pt"}
    assert set(body["contents"]) <= properties(specification, {"$ref": "#/components/schemas/LanguageStringMap"})
    assert body["contents"]["pt"] == "Olá, você"
    assert (body["app_id"], body["idempotency_key"], body["ttl"]) == (APP, KEY, 60)
    assert errors(specification, "Notification", {**body, "contents": "Olá"})
    assert errors(specification, "Notification", {**body, "app_id": None})


@pytest.mark.parametrize(
    "answer",
    [
        {"id": "", "errors": ["All included players are not subscribed"]},
        {"errors": ["All included players are not subscribed"]},
        {**CREATED, "errors": {"invalid_player_ids": ["secret-token"]}},
        {**CREATED, "recipients": 0},
        {**CREATED, "recipients": "0"},
    ],
)
def test_status_200_and_nobody_was_reached(answer: dict[str, Any]) -> None:
    with FaultServer(faults.json_answer(answer)) as server:
        assert push(server.url) is None


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        *((fault, "timeout") for fault in SLOW),
        *((faults.status(code), "unavailable") for code in (408, 409, 425, 500, 502, 503, 504)),
        *((fault, "unavailable") for fault in (faults.reset, faults.hang_up, faults.cut_short, faults.not_http)),
        *((faults.status(code), "rejected") for code in (301, 400, 401, 403, 404, 413, 422)),
        *((fault, "invalid") for fault in (faults.truncated_json, faults.not_a_number, faults.html, faults.endless)),
        *((faults.answer(body), "invalid") for body in (b"[]", b"{}", b'{"id": ""}', b'{"id": 7}', b"null")),
        (faults.too_many_requests(60), "rate_limited"),
        (faults.compressed, "unavailable"),
    ],
)
def test_one_request_one_failure_in_time(fault: faults.Fault, reason: str) -> None:
    """Never repeated here: the outbox does that, under the same key."""
    started = time.monotonic()
    with FaultServer(fault) as server:
        with pytest.raises(ServiceFailure) as caught:
            push(server.url, timeout_seconds=0.7 if fault in SLOW else 5.0, deadline_seconds=5.0)
        assert len(server.requests) == 1
    assert time.monotonic() - started < 5 + 5
    assert (caught.value.reason, caught.value.attempts) == (reason, 1)
    assert "secret" not in str(caught.value)


def test_a_certificate_that_is_not_trusted(tmp_path: Path) -> None:
    with FaultServer(faults.json_answer(CREATED), certificate=faults.self_signed(tmp_path / "server.pem")) as server:
        with pytest.raises(ServiceFailure) as caught:
            push(server.url, timeout_seconds=5.0, deadline_seconds=5.0)
        assert server.requests == []
    assert caught.value.reason == "certificate"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert OneSignal(app_id=APP).missing is None
    assert OneSignal().missing == "ONESIGNAL_APP_ID"
    monkeypatch.delenv("ONESIGNAL_API_KEY")
    assert OneSignal(app_id=APP).missing == "ONESIGNAL_API_KEY"
