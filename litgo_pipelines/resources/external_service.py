"""Policy for calls to external services: timeouts, retries, circuit breaker, fallback, metrics.

A client of a service says what to ask and how to read the answer; everything that can go wrong on the way is here, and
what it raises is transient (may pass by itself) or permanent (stays until somebody acts). No message, label or log line
holds a header, a request's body or an answer's.

Without a database, or while it is down, calls go ahead without a breaker; what could not be counted is logged.
"""

import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlencode, urlsplit

from litgo_pipelines.database import DatabaseUnavailable, sql
from litgo_pipelines.figures import UNWRITABLE
from litgo_pipelines.observability.metrics import ADD, Delta, columns, count, observe
from litgo_pipelines.resources import tracing
from litgo_pipelines.resources.bounded import Answer, AnswerTooLarge, BriefDatabase, CertificateNotTrusted, send
from litgo_pipelines.resources.circuit_breaker import Admission, CircuitBreaker
from litgo_pipelines.resources.rate_limits import retry_after, until_reset

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")
Reason = Literal["timeout", "unavailable", "rate_limited", "rejected", "invalid", "certificate", "circuit_open"]
RETRIED: tuple[Reason, ...] = ("timeout", "unavailable", "rate_limited")
CONFLICT = 409  # with another request for the same thing
RETRIED_STATUS = (408, CONFLICT, 425, 429)  # and every 5xx
LONGEST_PAUSE = 3600.0  # seconds a Retry-After may keep the breaker open
MOST_BYTES = 32 * 2**20  # of an answer
CERTIFICATE = sql("litgo_pipelines.resources", "certificate.sql")
LEASE_SLACK = 5.0  # seconds between the end of a probe's attempt and its report

WHAT_TO_DO = {
    400: "the request is not as the API wants it",
    422: "the request is not as the API wants it",
    401: "check the credentials in the environment",
    403: "check the credentials in the environment",
    404: "check the base URL and the ids in the request",
}


class ServiceFailure(RuntimeError):
    """A call that came to nothing. `attempts`: requests that were sent; `status`: of the answer, where there was one;
    `retry_after`: seconds the service, or its breaker, wants us to wait; `code`: the service's own name of the error;
    `limit_reached`: nobody is to ask before that, so that the breaker opens at once; `counts_as_answer`: it is about
    this request alone, so that to the breaker the service is up."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        code: str | None = None,
        limit_reached: bool = False,
        counts_as_answer: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.status = status
        self.retry_after = retry_after
        self.code = code
        self.limit_reached = limit_reached
        self.counts_as_answer = counts_as_answer
        self.attempts = 0


class TransientFailure(ServiceFailure):
    """The same request may succeed later."""


class CircuitOpen(TransientFailure):
    """Not asked, because the service has just failed several times in a row."""


class PermanentFailure(ServiceFailure):
    """The same request will fail again until somebody acts; the message says how."""


@dataclass(frozen=True)
class Refusal:
    """What a client reads in an answer that is no success. `code`: a word of the service's, never its prose;
    `limit_reached`: asked too often, whatever the status; `of_one`: too often of this one thing, others may be asked
    for; `retry_after`: seconds, where the answer says so; `to_do`: what somebody must do, for nothing else helps,
    whatever the status."""

    code: str | None = None
    limit_reached: bool = False
    of_one: bool = False
    retry_after: float | None = None
    to_do: str | None = None


@dataclass
class ExternalService:
    """One external service under the policy. `deadline_seconds` bounds a call with its retries and waits;
    `database_url`: None, without breaker and metrics; `refusal`: how the service names its errors. The other figures
    are for tests; `run_id`: of the run that asks."""

    service: str
    timeout_seconds: float
    deadline_seconds: float
    database_url: str | None = None
    fallback_enabled: bool = True
    attempts: int = 3
    backoff_seconds: float = 0.2
    breaker_threshold: int = 5
    breaker_pause_seconds: float = 30.0
    refusal: Callable[[Answer], Refusal] = lambda answer: Refusal()
    run_id: str | None = None
    log: Any = field(default_factory=lambda: logging.getLogger(__name__))

    def call(
        self,
        operation: str,
        method: str,
        url: str,
        *,
        read: Callable[[Answer], T],
        headers: Mapping[str, str] | None = None,
        json_body: object = None,
        form: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> T:
        """What `read` makes of the first answer with a 2xx status; `read` raises ValueError for one it cannot use.

        `idempotency_key` goes out as Idempotency-Key, the same on every attempt. Raises TransientFailure, CircuitOpen
        or PermanentFailure, at the latest after deadline_seconds (and the database's few); ValueError for a request
        that cannot be sent at all.
        """
        content, all_headers = _request(headers or {}, json_body, form, idempotency_key)

        def ask(seconds: float) -> Answer:
            return send(method, url, seconds=seconds, most_bytes=most_bytes, headers=all_headers, content=content)

        return self.call_by(operation, url, ask, read)

    def call_by(self, operation: str, url: str, ask: Callable[[float], Answer], read: Callable[[Answer], T]) -> T:
        """The same, where a vendor's own client makes the request: `ask(seconds)` sends it once, within that time, and
        raises what `bounded.send` does."""
        import tenacity

        count("api_requests_total", 0, service=self.service, operation=operation, outcome="ok")  # known names only
        started = time.monotonic()
        outcomes: list[Reason | Literal["ok"]] = []

        def attempt() -> T:
            admission = self._admit()
            seconds = min(self.timeout_seconds, started + self.deadline_seconds - time.monotonic())
            try:
                answer = _attempt(ask, seconds, read, self.refusal, partial(self._saw, url))
            except ServiceFailure as failure:
                outcomes.append(failure.reason)
                self._report(admission, failure)
                raise
            outcomes.append("ok")
            self._report(admission, None)
            return answer

        outcome: str | None = None
        status: int | None = None
        try:
            result = tenacity.Retrying(
                stop=tenacity.stop_after_attempt(self.attempts) | tenacity.stop_before_delay(self.deadline_seconds),
                wait=_wait(
                    tenacity.wait_exponential_jitter(multiplier=self.backoff_seconds, jitter=self.backoff_seconds)
                ),
                retry=tenacity.retry_if_exception(_worth_retrying),
                reraise=True,
            )(attempt)
            outcome = "ok"
            return result
        except ServiceFailure as failure:
            outcome, status, failure.attempts = failure.reason, failure.status, len(outcomes)
            failure.args = (f"{self.service} {operation}: {failure} (attempts: {len(outcomes)})",)
            raise
        finally:
            if outcome:
                seconds = time.monotonic() - started
                self._count(operation, outcome, outcomes, seconds)
                tracing.called(
                    self.service,
                    operation,
                    url,
                    run_id=self.run_id,
                    outcome=outcome,
                    status=status,
                    attempts=outcomes,
                    seconds=seconds,
                )

    def with_fallback(self, call: Callable[[], T], fallback: Callable[[ServiceFailure], T]) -> T:
        """What `call` gives; when it failed and fallbacks are on, what `fallback` gives, counted and logged."""
        try:
            return call()
        except ServiceFailure as failure:
            if not self.fallback_enabled:
                raise
            self._add([count("fallback_usage_total", service=self.service, reason=failure.reason)])
            self._warn("external_service_fallback", reason=failure.reason, failure=str(failure))
            return fallback(failure)

    @cached_property
    def _database(self) -> BriefDatabase | None:
        return BriefDatabase(self.database_url) if self.database_url else None

    @cached_property
    def _breaker(self) -> CircuitBreaker | None:
        if self._database is None:
            return None
        return CircuitBreaker(self.service, self._database, self.breaker_threshold, self.breaker_pause_seconds)

    def _admit(self) -> Admission | None:
        """Raises CircuitOpen. None: without a breaker."""
        if self._breaker is None:
            return None
        try:
            admission = self._breaker.admit(self.timeout_seconds + LEASE_SLACK)
        except DatabaseUnavailable as error:
            self._warn("circuit_breaker_unavailable", error=str(error))
            return None
        if admission.retry_in is not None:
            message = f"not asked, the circuit breaker is open for another {admission.retry_in:.0f} s"
            raise CircuitOpen("circuit_open", message, retry_after=admission.retry_in)
        return admission

    def _report(self, admission: Admission | None, failure: ServiceFailure | None) -> None:
        """A service that answers, if only to reject the request, is up."""
        if self._breaker is None or admission is None:
            return
        try:
            if failure is None or failure.counts_as_answer:
                if self._breaker.succeeded(admission):
                    self._warn("circuit_breaker_closed")
            else:
                breaker = replace(self._breaker, threshold=1) if failure.limit_reached else self._breaker
                if breaker.failed(admission, failure.reason, min(failure.retry_after or 0.0, LONGEST_PAUSE)):
                    self._warn("circuit_breaker_opened", reason=failure.reason)
        except DatabaseUnavailable as error:
            self._warn("circuit_breaker_unavailable", error=str(error))

    @cached_property
    def _certificates(self) -> dict[str, float]:
        """Host → end of its certificate, as it was written down last."""
        return {}

    def _saw(self, url: str, answer: Answer) -> None:
        """Write down when the host's certificate ends, once per process and certificate."""
        host, ends = urlsplit(url).hostname or "", answer.certificate_ends
        if self._database is None or ends is None or self._certificates.get(host) == ends:
            return
        self._certificates[host] = ends
        try:
            self._database.row(CERTIFICATE, {"service": self.service, "host": host, "ends": ends})
        except DatabaseUnavailable as error:
            self._warn("certificate_not_written", error=str(error))

    def _add(self, deltas: list[Delta]) -> None:
        if self._database is None:
            return
        try:
            self._database.row(ADD, columns(deltas))
        except DatabaseUnavailable as error:
            self._warn("metrics_not_counted", error=str(error), deltas=deltas)

    def _count(self, operation: str, outcome: str, attempts: Sequence[str], seconds: float) -> None:
        """One call with the outcomes of its attempts."""
        labels: dict[str, Any] = {"service": self.service, "operation": operation}
        deltas = [count("api_requests_total", **labels, outcome=outcome)]
        deltas += [count("api_attempts_total", **labels, outcome=each) for each in attempts]
        deltas += [count("api_timeouts_total", service=self.service) for each in attempts if each == "timeout"]
        if attempts:  # a call that the breaker stopped took no time of the service's
            deltas += observe("external_api_duration_seconds", seconds, **labels)
        self._add(deltas)

    def _warn(self, event: str, **fields: object) -> None:
        self.log.warning(json.dumps({"event": event, "service": self.service, **fields}, ensure_ascii=False))


def json_of(answer: Answer) -> Any:
    """The JSON of an answer. Raises ValueError when it says it is something else, is cut off, or holds NaN.

    What no text of ours can hold is U+FFFD: it would fail wherever it is written.
    """
    kind = answer.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise ValueError("an answer that is not JSON")
    found = json.loads(answer.body, parse_constant=_refuse)
    return _writable(found) if _SUSPECT.search(answer.body) else found


_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])|\xed[\xa0-\xbf]")  # escaped, or encoded as UTF-8 forbids


def _writable(value: object) -> object:
    if isinstance(value, str):
        return UNWRITABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_writable(each) for each in value]
    if isinstance(value, dict):
        return {_writable(key): _writable(each) for key, each in value.items()}
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _request(
    headers: Mapping[str, str], json_body: object, form: Mapping[str, str] | None, idempotency_key: str | None
) -> tuple[bytes | None, dict[str, str]]:
    content, result = None, dict(headers)
    if json_body is not None:
        content = json.dumps(json_body, ensure_ascii=False, allow_nan=False).encode()
        result["Content-Type"] = "application/json"
    elif form is not None:
        content = urlencode(form).encode()
        result["Content-Type"] = "application/x-www-form-urlencoded"
    if idempotency_key is not None:
        result["Idempotency-Key"] = idempotency_key
    return content, result


def _attempt(
    ask: Callable[[float], Answer],
    seconds: float,
    read: Callable[[Answer], T],
    refusal: Callable[[Answer], Refusal],
    saw: Callable[[Answer], None],
) -> T:
    """One attempt; `saw` is told of an answer, whatever it is. Raises TransientFailure and PermanentFailure."""
    try:
        answer = ask(seconds)
    except TimeoutError as error:
        raise TransientFailure("timeout", str(error)) from error
    except CertificateNotTrusted as error:
        message = "its certificate is not trusted: check the base URL, a proxy in between, the CA certificates here"
        raise PermanentFailure("certificate", message) from error
    except ConnectionError as error:
        raise TransientFailure("unavailable", f"no connection or one that broke ({error})") from error
    except AnswerTooLarge as error:
        raise TransientFailure("invalid", str(error)) from error
    saw(answer)
    if not 200 <= answer.status < 300:
        raise _failure(answer, refusal(answer))
    try:
        return read(answer)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, ArithmeticError) as error:
        # from None: the error quotes the answer
        raise TransientFailure(
            "invalid", f"an answer we cannot read ({type(error).__name__})", status=answer.status
        ) from None


def _failure(answer: Answer, said: Refusal) -> ServiceFailure:
    """What an answer that is no success comes to."""
    status, wait = answer.status, retry_after(answer.headers)
    code = said.code
    limited = said.limit_reached or said.of_one or status == 429
    if said.to_do is None and (limited or status in RETRIED_STATUS or status >= 500):
        wait = said.retry_after if wait is None else wait
        wait = until_reset(answer.headers) if wait is None and limited else wait
        asked = f"{f' {code}' if code else ''}" + ("" if wait is None else f", asks to wait {wait:.0f} s")
        return TransientFailure(
            "rate_limited" if limited else "unavailable",
            f"HTTP {status}{asked}",
            status=status,
            retry_after=wait,
            code=code,
            limit_reached=said.limit_reached,
            counts_as_answer=(said.of_one or status == CONFLICT) and not said.limit_reached,
        )
    usual = WHAT_TO_DO.get(status, "a redirect, check the base URL" if 300 <= status < 400 else "not accepted")
    message = said.to_do or usual
    named = f"HTTP {status}{f' {code}' if code else ''}, {message}"
    return PermanentFailure("rejected", named, status=status, code=code, counts_as_answer=True)


def _worth_retrying(error: BaseException) -> bool:
    return isinstance(error, TransientFailure) and error.reason in RETRIED


def _wait(backoff: Callable[["RetryCallState"], float]) -> Callable[["RetryCallState"], float]:
    """The backoff, or longer when the service asks for it."""

    def seconds(state: "RetryCallState") -> float:
        failure = state.outcome.exception() if state.outcome else None
        return max(backoff(state), getattr(failure, "retry_after", None) or 0.0)

    return seconds
