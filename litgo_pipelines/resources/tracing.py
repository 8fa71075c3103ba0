"""Traces of calls to external services, as OpenTelemetry's spans; off unless LITGO_TRACES_ENDPOINT names a collector.

The calls of a run are one trace, whose id is the run's. A span says which service was asked for what, how the call
ended and how its attempts did: no address beyond the host, no header, no text, nobody's id. No vendor is told of it.
"""

import logging
import multiprocessing.util
import os
import time
import uuid
from collections.abc import Sequence
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from litgo_pipelines.settings import settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

SCOPE = "litgo_pipelines.resources.external_service"
SECONDS = 2  # an export may take, so that a run's end waits for a lost collector no longer
MISSING = "LITGO_TRACES_ENDPOINT is set, but no traces are sent: pip install 'litgo_pipelines[traces]'"

_run: ContextVar[str | None] = ContextVar("run", default=None)


def called(
    service: str,
    operation: str,
    url: str,
    *,
    run_id: str | None,
    outcome: str,
    status: int | None,
    attempts: Sequence[str],
    seconds: float,
) -> None:
    """One call that has just ended. `status`: of the answer that was no success; `attempts`: how each of them ended."""
    provider = _provider(settings().litgo_traces_endpoint)
    if provider is None:
        return
    from opentelemetry.trace import SpanKind, StatusCode

    ended = time.time_ns()
    attributes: dict[str, str | int | Sequence[str]] = {
        "server.address": urlsplit(url).hostname or "",
        "litgo.service": service,
        "litgo.operation": operation,
        "litgo.outcome": outcome,
        "litgo.attempts": tuple(attempts),
    }
    attributes |= {"dagster.run_id": run_id} if run_id else {}
    attributes |= {"http.response.status_code": status} if status else {}
    attributes |= {"error.type": outcome} if outcome != "ok" else {}
    token = _run.set(run_id)
    try:
        span = provider.get_tracer(SCOPE).start_span(
            f"{service} {operation}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=ended - int(seconds * 1e9),
        )
    finally:
        _run.reset(token)
    if outcome != "ok":
        span.set_status(StatusCode.ERROR, outcome)
    span.end(ended)


@cache
def _provider(endpoint: str | None) -> "TracerProvider | None":
    """The one of this process, made at its first call: a run is forked, and a thread of its parent is not its own."""
    if endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logging.getLogger(__name__).warning(MISSING)
        return None
    made = provider(BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=SECONDS)))
    multiprocessing.util.Finalize(None, made.shutdown, exitpriority=0)  # a forked process runs nothing of atexit's
    return made


def provider(processor: "SpanProcessor") -> "TracerProvider":
    """One whose traces are runs, never the global one, which other packages write to."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class RunIds(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            try:
                return uuid.UUID(_run.get() or "").int or super().generate_trace_id()
            except ValueError:  # of a run that Dagster did not number
                return super().generate_trace_id()

        def is_trace_id_random(self) -> bool:
            return False

    named = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "litgo_pipelines")})
    made = TracerProvider(resource=named, shutdown_on_exit=False, id_generator=RunIds())
    made.add_span_processor(processor)
    return made
