"""The call to OpenAI over real HTTP on loopback: what is sent, what is accepted, and that it ends in time."""

import json
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from litgo_pipelines.intake import remote, taxonomy
from litgo_pipelines.intake.taxonomy import NONE, Subarea
from litgo_pipelines.resources.openai import OpenAI, OpenAIFailed
from litgo_pipelines_tests.worlds import specifications
from litgo_pipelines_tests.worlds.intake import GOOD, Loopback, completion
from litgo_pipelines_tests.worlds.specifications import errors

POSSIBLE = taxonomy.subareas()


def ask(openai: OpenAI, text: str = "meu ex não devolve as crianças") -> str:
    return openai.structured(
        instructions=remote.INSTRUCTIONS, text=text, name=remote.NAME, schema=remote.schema(POSSIBLE)
    )


def reason(openai: OpenAI) -> str:
    with pytest.raises(OpenAIFailed) as caught:
        ask(openai)
    assert "meu ex" not in str(caught.value)
    return caught.value.reason


def test_a_good_answer(openai: OpenAI, loopback: Loopback) -> None:
    opinion = remote.opinion(ask(openai), POSSIBLE)
    assert opinion.probabilities == {Subarea("Família", "Guarda"): 0.93}
    assert (opinion.source, opinion.urgency_h, opinion.complexity) == ("openai", 24, "HIGH")
    (request,) = loopback.requests
    assert loopback.headers[0]["path"] == "/v1/chat/completions"
    assert loopback.headers[0]["authorization"] == "Bearer test-key"
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    assert request["messages"][1]["content"] == "meu ex não devolve as crianças"
    assert "tools" not in request
    assert request["store"] is False


@pytest.fixture(scope="module")
def specification() -> dict[str, Any]:
    return specifications.read("openai-chat-completions.json")


def test_the_request_is_as_openai_specifies(openai: OpenAI, loopback: Loopback, specification: dict[str, Any]) -> None:
    ask(openai)
    (request,) = loopback.requests
    assert errors(specification, "CreateChatCompletionRequest", request) == []
    known: set[str] = set()
    for part in specification["components"]["schemas"]["CreateChatCompletionRequest"]["allOf"]:
        while "$ref" in part:
            part = specification["components"]["schemas"][part["$ref"].rsplit("/", 1)[1]]
        known |= set(part.get("properties", {}))
        for inner in part.get("allOf", []):
            target = (
                specification["components"]["schemas"][inner["$ref"].rsplit("/", 1)[1]] if "$ref" in inner else inner
            )
            known |= set(target.get("properties", {}))
    assert set(request) <= known  # the specification allows any other name: a misspelt one would pass
    assert errors(specification, "CreateChatCompletionRequest", {**request, "messages": "x"})
    assert errors(specification, "CreateChatCompletionRequest", {**request, "response_format": {"type": "json_schema"}})


def test_the_loopback_server_answers_as_openai_specifies(specification: dict[str, Any]) -> None:
    assert errors(specification, "CreateChatCompletionResponse", json.loads(completion("{}"))) == []


def test_the_schema_takes_what_we_take_and_nothing_else() -> None:
    import jsonschema

    schema: dict[str, Any] = remote.schema(POSSIBLE)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schema["required"]) == set(schema["properties"]) == set(remote.Answer.model_fields)
    for label in POSSIBLE:
        answer = {**GOOD, "category": f"{label.area}: {label.subarea}"}
        jsonschema.validate(answer, schema)
        assert remote.opinion(json.dumps(answer), POSSIBLE).probabilities == {label: 0.93}
    none = json.dumps({**GOOD, "category": remote.NO_SUBAREA})
    assert remote.opinion(none, POSSIBLE).probabilities == {NONE: 0.93}


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "null",
        "[]",
        "{",
        json.dumps(GOOD)[:-5],
        "claro! aqui está",
        json.dumps({**GOOD, "category": "Ambiental: Multa"}),
        json.dumps({**GOOD, "category": "Trabalhista: Rescisão"}),  # not among the possible
        json.dumps({**GOOD, "confidence": 1.5}),
        json.dumps({**GOOD, "confidence": "alta"}),
        '{"category": "Família: Guarda", "confidence": NaN, "urgency_h": 24, "complexity": "LOW"}',
        json.dumps({**GOOD, "urgency_h": -1}),
        json.dumps({**GOOD, "complexity": "EXTREME"}),
        json.dumps({**GOOD, "sql": "DROP TABLE cases"}),
        json.dumps({key: value for key, value in GOOD.items() if key != "category"}),
    ],
)
def test_an_answer_that_is_not_of_the_schema_is_refused(answer: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        remote.opinion(answer, taxonomy.subareas("Família"))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Loopback.answer(b"{}", 500), "unavailable"),
        (Loopback.answer(b'{"error": {"message": "slow down"}}', 429), "unavailable"),
        (Loopback.answer(b'{"error": {"message": "bad key"}}', 401), "rejected"),
        (Loopback.answer(b'{"error": {"message": "bad request"}}', 400), "rejected"),
        (Loopback.answer(b'{"choices": [{"index": 0, "mess'), "invalid"),
        (Loopback.answer(b"<html>gateway</html>"), "invalid"),
        (Loopback.answer(b'{"choices": []}'), "invalid"),
        (Loopback.answer(b"[]"), "invalid"),
        (Loopback.answer(completion(None, refusal="I cannot help")), "refused"),
        (Loopback.answer(completion("{}", finish_reason="content_filter")), "refused"),
        (Loopback.answer(completion('{"categ', finish_reason="length")), "invalid"),
        (Loopback.answer(completion(None)), "invalid"),
    ],
)
def test_failures_have_a_reason_and_only_what_may_pass_is_retried(
    openai: OpenAI, loopback: Loopback, reply: Any, expected: str
) -> None:
    loopback.reply = reply
    assert reason(openai) == expected
    assert len(loopback.requests) == (3 if expected == "unavailable" else 1)


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        (429, {"code": "insufficient_quota", "type": "insufficient_quota"}, "see to billing"),
        (429, {"code": None, "type": "insufficient_quota"}, "see to billing"),
        (400, {"code": "billing_hard_limit_reached", "type": "invalid_request_error"}, "see to billing"),
        (429, {"code": "billing_not_active", "type": "billing_not_active"}, "see to billing"),
        (404, {"code": "model_not_found", "type": "invalid_request_error"}, "check OPENAI_TRIAGE_MODEL"),
        (401, {"code": "invalid_api_key", "type": "invalid_request_error"}, "invalid_api_key, check the credentials"),
        (400, {"code": "meu ex não", "type": None}, "HTTP 400, the request"),
        (400, {"code": ["x"], "type": 7}, "HTTP 400, the request"),
        (400, "meu ex", "HTTP 400, the request"),
    ],
)
def test_what_only_a_person_can_mend_is_asked_once_and_named(
    openai: OpenAI, loopback: Loopback, status: int, error: object, told: str
) -> None:
    loopback.reply = Loopback.answer(json.dumps({"error": error}).encode(), status)
    with pytest.raises(OpenAIFailed, match=told) as caught:
        ask(openai)
    assert caught.value.reason == "rejected"
    assert "meu ex" not in str(caught.value)
    assert len(loopback.requests) == 1


def test_a_limit_of_the_minute_passes_by_itself(openai: OpenAI, loopback: Loopback) -> None:
    error = {"code": "rate_limit_exceeded", "type": "tokens"}
    loopback.reply = Loopback.answer(json.dumps({"error": error}).encode(), 429)
    assert reason(openai) == "unavailable"
    assert len(loopback.requests) == 3


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    assert reason(OpenAI(base_url="http://127.0.0.1:1/v1", timeout_seconds=5)) == "unavailable"


def hang(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(20)


def drip(handler: BaseHTTPRequestHandler) -> None:
    """A byte every tenth of a second: no single wait is ever long."""
    body = completion(json.dumps(GOOD))
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    try:
        for at in range(len(body)):
            handler.wfile.write(body[at : at + 1])
            handler.wfile.flush()
            time.sleep(0.1)
    except OSError:
        return  # the client has hung up, as it should


@pytest.mark.parametrize("reply", [hang, drip])
def test_the_deadline_is_for_the_whole_call(loopback: Loopback, reply: Any) -> None:
    loopback.reply = reply
    started = time.monotonic()
    assert reason(OpenAI(base_url=loopback.url, timeout_seconds=0.7, deadline_seconds=1.4)) == "timeout"
    assert time.monotonic() - started < 6  # far from the 20 s the server would take


def test_without_a_key_it_is_not_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert not OpenAI().configured
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert not OpenAI().configured
