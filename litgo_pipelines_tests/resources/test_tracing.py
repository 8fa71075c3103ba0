"""Spans of calls, as the SDK's own in-memory exporter gets them, and as a collector does when a run's process ends."""

import logging
import multiprocessing
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from litgo_pipelines.resources import tracing
from litgo_pipelines.resources.external_service import CircuitOpen, ExternalService, ServiceFailure, json_of
from litgo_pipelines.resources.onesignal import OneSignal
from litgo_pipelines.resources.sendgrid import SendGrid
from litgo_pipelines.settings import SettingsError, settings
from litgo_pipelines.simulation import faults
from litgo_pipelines.simulation.faults import Fault, FaultServer

OK = faults.json_answer({"id": "id-of-somebody"})
RUN = str(uuid.uuid4())
PRIVATE = ("maria@example.com", "secret-key", "id-of-somebody", "secret-in-body", "carta")
Make = Callable[..., ExternalService]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[ReadableSpan]]]:
    kept = InMemorySpanExporter()
    provider = tracing.provider(SimpleSpanProcessor(kept))
    monkeypatch.setattr(tracing, "_provider", lambda endpoint: provider)
    yield lambda: list(kept.get_finished_spans())
    provider.shutdown()


def call(service: ExternalService, url: str) -> object:
    return service.call(
        "mail",
        "POST",
        f"{url}/v3/maria@example.com?key=secret-key",
        read=lambda answer: json_of(answer)["id"],
        headers={"Authorization": "secret-key"},
        json_body={"to": "maria@example.com", "text": "carta"},
    )


@pytest.mark.parametrize(
    ("answers", "outcome", "attempts", "status"),
    [
        ([OK], "ok", ("ok",), None),
        ([faults.status(503), faults.reset, OK], "ok", ("unavailable", "unavailable", "ok"), None),
        ([faults.status(400)], "rejected", ("rejected",), 400),
        ([faults.status(429, Retry_After="0")], "rate_limited", ("rate_limited",) * 3, 429),
        ([faults.answer(b"secret-in-body")], "invalid", ("invalid",), 200),
    ],
)
def test_a_call_is_one_span_that_says_how_it_went_and_nothing_of_what_was_said(
    service: Make,
    spans: Callable[[], list[ReadableSpan]],
    answers: list[Fault],
    outcome: str,
    attempts: tuple[str, ...],
    status: int | None,
) -> None:
    with FaultServer(*answers) as server:
        if outcome == "ok":
            call(service(run_id=RUN), server.url)
        else:
            with pytest.raises(ServiceFailure):
                call(service(run_id=RUN), server.url)
    (span,) = spans()
    failed = {"error.type": outcome} if outcome != "ok" else {}
    assert span.attributes == {
        "server.address": "127.0.0.1",
        "litgo.service": "openai",
        "litgo.operation": "mail",
        "litgo.outcome": outcome,
        "litgo.attempts": attempts,
        "dagster.run_id": RUN,
        **failed,
        **({"http.response.status_code": status} if status else {}),
    }
    assert (span.name, span.kind) == ("openai mail", SpanKind.CLIENT)
    assert span.status.status_code == (StatusCode.ERROR if failed else StatusCode.UNSET)
    assert span.context.trace_id == uuid.UUID(RUN).int
    assert span.start_time
    assert span.end_time
    assert span.start_time < span.end_time
    assert not [word for word in PRIVATE if word in span.to_json()]


def test_a_call_that_the_breaker_stopped_is_one_without_attempts(
    service: Make, spans: Callable[[], list[ReadableSpan]], database_url: str
) -> None:
    with FaultServer(faults.status(500)) as server:
        asked = service(database_url, breaker_threshold=1, attempts=1)
        for _ in range(2):
            with pytest.raises(ServiceFailure) as caught:
                call(asked, server.url)
    assert isinstance(caught.value, CircuitOpen)
    first, second = spans()
    assert (second.attributes or {})["litgo.outcome"] == "circuit_open"
    assert (second.attributes or {})["litgo.attempts"] == ()
    assert first.context.trace_id != second.context.trace_id, "of no run"


def test_calls_of_a_run_are_its_trace_in_its_threads_too(
    spans: Callable[[], list[ReadableSpan]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONESIGNAL_API_KEY", "secret-key")
    monkeypatch.setenv("SENDGRID_API_KEY", "secret-key")

    @dg.asset
    def messages(onesignal: OneSignal, sendgrid: SendGrid) -> None:
        def push(number: int) -> str | None:
            return onesignal.push(subscription="s", title="t", text="carta", idempotency_key=str(number))

        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(push, range(2))) == ["id-of-somebody"] * 2
        sendgrid.mail(to="maria@example.com", name="Maria", subject="carta", text="carta", html="carta", reference="r")

    with FaultServer(OK, OK, faults.answer(b"", 202)) as server:
        done = dg.materialize(
            [messages],
            resources={
                "onesignal": OneSignal(base_url=server.url, app_id="app"),
                "sendgrid": SendGrid(base_url=server.url, sender="nobody@litgo.example"),
            },
        )
    found = spans()
    assert sorted(span.name for span in found) == ["onesignal push", "onesignal push", "sendgrid mail"]
    assert {span.context.trace_id for span in found} == {uuid.UUID(done.run_id).int}
    assert not [word for word in PRIVATE for span in found if word in span.to_json()]


def test_it_is_off_unless_a_collector_is_named() -> None:
    assert settings().litgo_traces_endpoint is None
    assert tracing._provider(None) is None


@pytest.mark.parametrize("value", ["collector:4318", "http://collector:4318", "grpc://collector:4317/", "on"])
def test_a_collector_is_named_by_its_whole_address(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITGO_TRACES_ENDPOINT", value)
    with pytest.raises(SettingsError, match=r"LITGO_TRACES_ENDPOINT=.*v1/traces"):
        settings()


def test_without_the_extra_calls_go_on_and_say_what_is_missing_once(
    service: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.setenv("LITGO_TRACES_ENDPOINT", "http://127.0.0.1:1/missing/v1/traces")
    with FaultServer(OK) as server, caplog.at_level(logging.WARNING):
        assert [call(service(), server.url) for _ in range(2)] == ["id-of-somebody"] * 2
    assert [record.getMessage() for record in caplog.records] == [tracing.MISSING]


def test_a_process_that_ends_has_sent_its_spans(service: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forked, as a run is: nothing that was left to the end of an interpreter would happen."""
    pytest.importorskip(
        "opentelemetry.exporter.otlp.proto.http.trace_exporter",
        reason="the exporter is not installed: the extra `traces` has it",
    )
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    with FaultServer(OK) as vendor, FaultServer(faults.answer(b"")) as collector:
        monkeypatch.setenv("LITGO_TRACES_ENDPOINT", f"{collector.url}/v1/traces")
        run = multiprocessing.get_context("fork").Process(target=call, args=(service(run_id=RUN), vendor.url))
        run.start()
        run.join(30)
        assert run.exitcode == 0
        (request,) = collector.requests
    assert request.path == "/v1/traces"
    assert not [word for word in PRIVATE if word.encode() in request.body]
    (sent,) = ExportTraceServiceRequest.FromString(request.body).resource_spans
    named = {each.key: each.value.string_value for each in sent.resource.attributes}
    assert named["service.name"] == "litgo_pipelines"
    (span,) = sent.scope_spans[0].spans
    assert (span.name, span.trace_id.hex()) == ("openai mail", uuid.UUID(RUN).hex)
