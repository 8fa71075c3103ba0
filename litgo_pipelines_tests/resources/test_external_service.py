"""Every fault × the policy, over real HTTP on loopback; breaker and metrics in a real Postgres."""

import gzip
import json
import os
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from cryptography import x509

from litgo_pipelines.database import libpq
from litgo_pipelines.observability import gauges
from litgo_pipelines.resources import bounded
from litgo_pipelines.resources.external_service import (
    CircuitOpen,
    ExternalService,
    PermanentFailure,
    Refusal,
    ServiceFailure,
    TransientFailure,
    json_of,
)
from litgo_pipelines.resources.rate_limits import retry_after, until_reset
from litgo_pipelines.simulation import faults
from litgo_pipelines.simulation.faults import FaultServer
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.resources import let_pause_pass
from litgo_pipelines_tests.worlds.sessions import kept

SLACK = 5.0  # seconds; a busy machine
SLOW = (faults.hang, faults.drip, faults.drip_headers)
SECRETS = ("secret-in-body", "secret-key", "secret-text")
OK = faults.json_answer({"items": [1, 2]})

Make = Callable[..., ExternalService]


def call(service: ExternalService, url: str, **options: Any) -> Any:
    options = {
        "read": lambda answer: json_of(answer)["items"],
        "headers": {"Authorization": "Bearer secret-key"},
        "json_body": {"input": "secret-text"},
        "idempotency_key": "key-1",
        **options,
    }
    return service.call("embeddings", "POST", f"{url}/v1/embeddings", **options)


def failure(service: ExternalService, url: str, **options: Any) -> ServiceFailure:
    """What the call raised, within the deadline, without a word of request or answer."""
    started = time.monotonic()
    with pytest.raises(ServiceFailure) as caught:
        call(service, url, **options)
    assert time.monotonic() - started < service.deadline_seconds + SLACK
    told = [str(caught.value), *getattr(service.log, "lines", [])]
    assert not [secret for secret in SECRETS for text in told if secret in text]
    return caught.value


def impatient(make: Make, fault: faults.Fault) -> ExternalService:
    """Waits only as long as has to be, for faults that are slow."""
    return make(timeout_seconds=1.0) if fault in SLOW else make()


def reason_of_fallback(service: ExternalService, url: str) -> Any:
    """Why the fallback was used; the items when it was not."""
    return service.with_fallback(lambda: call(service, url), lambda found: found.reason)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(libpq(url))) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def counted(url: str) -> dict[str, float]:
    """name{values of the labels} → value, without the histogram's."""
    found = rows(url, "SELECT name, labels, value FROM litgo.metric_state WHERE name LIKE '%_total' ORDER BY 1")
    return {f"{name}{{{','.join(labels[key] for key in sorted(labels))}}}": value for name, labels, value in found}


def test_a_good_answer_and_what_was_sent(service: Make) -> None:
    with FaultServer(OK) as server:
        assert call(service(), server.url) == [1, 2]
        (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/embeddings")
    assert request.json() == {"input": "secret-text"}
    assert request.headers["authorization"] == "Bearer secret-key"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == "key-1"
    assert request.headers["accept-encoding"] == "identity"


def test_a_form_and_a_request_without_a_body(service: Make) -> None:
    with FaultServer(OK) as server:
        call(service(), server.url, json_body=None, form={"grant_type": "a:b c"}, idempotency_key=None)
        call(service(), server.url, json_body=None, idempotency_key=None)
        form, empty = server.requests
    assert (form.body, form.headers["content-type"]) == (
        b"grant_type=a%3Ab+c",
        "application/x-www-form-urlencoded",
    )
    assert empty.body == b""
    assert "idempotency-key" not in empty.headers


@pytest.mark.parametrize(
    "fault",
    [
        *SLOW,
        faults.reset,
        faults.hang_up,
        faults.cut_short,
        faults.not_http,
        faults.compressed,
        *(faults.status(code) for code in (408, 409, 425, 429, 500, 502, 503, 504, 529)),
    ],
)
def test_what_passes_is_asked_again_with_the_same_key(service: Make, fault: faults.Fault) -> None:
    with FaultServer(fault, fault, OK) as server:
        assert call(impatient(service, fault), server.url) == [1, 2]
        assert len(server.requests) == 3
        assert {request.headers["idempotency-key"] for request in server.requests} == {"key-1"}
        assert len({request.body for request in server.requests}) == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        *((fault, "timeout") for fault in SLOW),
        (faults.reset, "unavailable"),
        (faults.hang_up, "unavailable"),
        (faults.cut_short, "unavailable"),
        (faults.not_http, "unavailable"),
        (faults.compressed, "unavailable"),
        (faults.status(500), "unavailable"),
        (faults.status(408), "unavailable"),
        (faults.status(429), "rate_limited"),
    ],
)
def test_what_does_not_pass_is_transient_after_three_attempts(service: Make, fault: faults.Fault, reason: str) -> None:
    with FaultServer(fault) as server:
        found = failure(impatient(service, fault), server.url)
        assert len(server.requests) == 3
    assert isinstance(found, TransientFailure)
    assert (found.reason, found.attempts) == (reason, 3)


@pytest.mark.parametrize("code", [301, 302, 400, 401, 403, 404, 405, 410, 413, 422])
def test_what_stays_is_permanent_at_once(service: Make, code: int) -> None:
    with FaultServer(faults.status(code, Location="http://127.0.0.1:1/elsewhere")) as server:
        found = failure(service(), server.url)
        assert len(server.requests) == 1
    assert isinstance(found, PermanentFailure)
    assert (found.reason, found.status, found.attempts) == ("rejected", code, 1)


@pytest.mark.parametrize(
    "fault",
    [
        faults.truncated_json,
        faults.html,
        faults.not_a_number,
        faults.answer(b""),
        faults.answer(b"\xff"),
        faults.answer(b"[" * 100_000),
        faults.json_answer([]),
        faults.json_answer({"other": 1}),
        faults.answer(b"{}", content_type="text/plain"),
    ],
)
def test_an_answer_that_cannot_be_read_is_not_asked_for_again(service: Make, fault: faults.Fault) -> None:
    with FaultServer(fault) as server:
        found = failure(service(), server.url)
        assert len(server.requests) == 1
    assert isinstance(found, TransientFailure)
    assert found.reason == "invalid"


def test_what_a_reader_says_of_an_answer_is_not_told(service: Make) -> None:
    def read(answer: bounded.Answer) -> None:
        raise ValueError(answer.body.decode())

    with FaultServer(faults.answer(b"secret-in-body")) as server:
        assert failure(service(), server.url, read=read).reason == "invalid"


@pytest.mark.parametrize("fault", [faults.endless, faults.answer(b" " * 2_000_000)])
def test_a_huge_body_is_not_read_to_its_end(service: Make, fault: faults.Fault) -> None:
    with FaultServer(fault) as server:
        found = failure(service(), server.url, most_bytes=1_000_000)
        assert len(server.requests) == 1
    assert found.reason == "invalid"


def test_nobody_listens(service: Make) -> None:
    found = failure(service(), faults.refusing_url())
    assert isinstance(found, TransientFailure)
    assert (found.reason, found.attempts) == ("unavailable", 3)


@pytest.fixture
def certificate(tmp_path: Any) -> Iterator[Path]:
    bounded._trusted.cache_clear()
    yield faults.self_signed(tmp_path / "server.pem")
    bounded._trusted.cache_clear()


def trust(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    bounded._trusted.cache_clear()


def test_a_certificate_that_is_not_trusted(service: Make, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer(OK, certificate=certificate) as server:
        found = failure(service(), server.url)
        assert isinstance(found, PermanentFailure)
        assert (found.reason, found.attempts) == ("certificate", 1)
        assert server.requests == []  # the request, with its secrets, was never sent
        trust(certificate, monkeypatch)  # the same server: it was the certificate
        assert call(service(), server.url) == [1, 2]


def test_when_its_certificate_ends_is_written_down(
    service: Make, certificate: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(certificate, monkeypatch)
    old = 'UPDATE litgo.circuit_breakers SET certificates = \'{"old.example": 1e9, "other.example": 4e9}\''
    execute(database_url, old)
    with FaultServer(faults.status(401), certificate=certificate) as server:
        assert failure(service(database_url), server.url).reason == "rejected"
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT service, certificates FROM litgo.circuit_breakers WHERE certificates ? '127.0.0.1'")
        ((name, found),) = cursor.fetchall()
        assert found.keys() == {"127.0.0.1", "other.example"}, "what has ended is of a host that is not called any more"
        ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
        assert found["127.0.0.1"] == ends.timestamp()
        shown, _ = gauges.read_each(cursor, ["certificate_expires_timestamp_seconds"])
    assert ((name,), ends.timestamp()) in shown["certificate_expires_timestamp_seconds"]


@pytest.mark.parametrize("fault", [*SLOW, faults.endless])
def test_the_deadline_holds_over_tls(
    service: Make, certificate: Path, monkeypatch: pytest.MonkeyPatch, fault: faults.Fault
) -> None:
    trust(certificate, monkeypatch)
    with FaultServer(fault, certificate=certificate) as server:
        found = failure(service(attempts=1, timeout_seconds=1), server.url, most_bytes=2**40)
        assert len(server.requests) == 1
    assert found.reason == "timeout"


def test_a_tls_handshake_that_never_ends(service: Make) -> None:
    with FaultServer(faults.hang) as server:  # waits for a request line that a TLS hello is not
        found = failure(service(timeout_seconds=1, deadline_seconds=2), server.url.replace("http:", "https:"))
    assert found.reason in ("timeout", "unavailable")


def test_a_name_that_cannot_be_looked_up_in_time(service: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: time.sleep(8))
    started = time.monotonic()
    assert (
        failure(service(attempts=1, timeout_seconds=0.5, deadline_seconds=1), "http://api.example").reason == "timeout"
    )
    assert time.monotonic() - started < 5  # far from the 8 s of the look-up


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"Authorization": "Bearer secret-key\n"}},
        {"headers": {"Authorization": "secret-key–é"}},
    ],
)
def test_a_request_that_cannot_be_sent_is_our_own_mistake(service: Make, options: Any) -> None:
    with FaultServer(OK) as server:
        with pytest.raises(ValueError, match="cannot be sent") as caught:
            call(service(), server.url, **options)
        assert server.requests == []
    assert "secret-key" not in str(caught.value)


def test_names_that_are_not_known_are_refused_before_anything_is_sent(service: Make) -> None:
    with FaultServer(OK) as server, pytest.raises(ValueError, match="operation"):
        service().call("no_such", "GET", server.url, read=json_of)
    assert server.requests == []


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (b'{"items": ["a\\u0000b", {"\\ud83dx": "\\udc00"}]}', ["a\ufffdb", {"\ufffdx": "\ufffd"}]),
        (b'{"items": ["\xed\xa0\xbd"]}', ["\ufffd"]),
        (b'{"items": ["\\ud83d\\ude00", "\\\\ud83d", 1, null]}', ["\U0001f600", "\\ud83d", 1, None]),
    ],
)
def test_what_no_text_of_ours_can_hold_is_replaced_and_the_rest_is_read(
    service: Make, body: bytes, read: list[object]
) -> None:
    with FaultServer(faults.answer(body)) as server:
        found = call(service(), server.url)
    assert found == read
    str(found).encode()


ITEMS = b'{"items": [1, 2]}'
packed = partial(gzip.compress, mtime=0)  # the same bytes in every test process, for tests are named after them


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", packed(ITEMS)),
        ("GZIP", packed(ITEMS[:5]) + packed(ITEMS[5:])),
        ("x-gzip", packed(ITEMS)),
        ("deflate", zlib.compress(ITEMS)),
        ("utf-8", ITEMS),  # no encoding at all, and yet some say it
        ("", ITEMS),
    ],
)
def test_an_answer_that_was_packed_without_being_asked_to_is_read(service: Make, encoding: str, body: bytes) -> None:
    with FaultServer(faults.answer(body, Content_Encoding=encoding)) as server:
        assert call(service(), server.url) == [1, 2]
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("encoding", "body", "reason"),
    [
        ("gzip", packed(ITEMS)[:-9], "unavailable"),
        ("gzip", ITEMS, "unavailable"),
        ("gzip", packed(bytes(9_000)), "invalid"),  # small on the way, too large here
        ("br", ITEMS, "unavailable"),
    ],
)
def test_one_that_cannot_be_unpacked_is_an_error(service: Make, encoding: str, body: bytes, reason: str) -> None:
    with FaultServer(faults.answer(body, Content_Encoding=encoding)) as server:
        assert failure(service(attempts=1), server.url, most_bytes=8_000).reason == reason


@pytest.mark.parametrize("as_date", [False, True])
def test_a_short_retry_after_is_waited_for(service: Make, as_date: bool) -> None:
    with FaultServer(faults.too_many_requests(2, as_date=as_date), OK) as server:
        started = time.monotonic()
        assert call(service(), server.url) == [1, 2]
        assert time.monotonic() - started >= 1
        assert len(server.requests) == 2


@pytest.mark.parametrize("as_date", [False, True])
def test_a_retry_after_beyond_the_deadline_stops_at_once(service: Make, as_date: bool) -> None:
    with FaultServer(faults.too_many_requests(60, as_date=as_date)) as server:
        found = failure(service(), server.url)
        assert len(server.requests) == 1
    assert found.reason == "rate_limited"
    assert 59 <= (found.retry_after or 0) <= 60  # between the server's two looks at the clock a second may end


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 7 "}, 7),
        ({"retry-after": "-7"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "9" * 400}, 999_999_999),
        ({"retry-after": "1.5"}, 2),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "60s"}, 60),
        ({"retry-after": "90000"}, 90_000),
        ({"retry-after": "1445412500", "date": "Wed, 21 Oct 2015 07:27:50 GMT"}, 30),
        ({"retry-after": "1445412500000", "date": "Wed, 21 Oct 2015 07:27:50 GMT"}, 30),
        ({"retry-after": "2015-10-21T04:28:00-03:00", "date": "Wed, 21 Oct 2015 07:27:50 GMT"}, 10),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:27:50 GMT"}, 10),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:00"}, None),
        ({"retry-after": f"Wed, 21 Oct {'9' * 20} 07:28:00 GMT"}, None),
        ({"retry-after": f"Wed, 21 Oct 2015 07:28:00 +{'9' * 14}"}, None),
        ({"retry-after-ms": "1200", "retry-after": "9"}, 2),
        ({"retry-after-ms": "0.5"}, 1),
        ({"x-ms-retry-after-ms": "1200"}, 2),
        ({"retry-after-ms": "-1", "retry-after": "9"}, 9),
        ({"retry-after-ms": "9" * 400}, 1e9),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers) == expected


SENT = "Wed, 21 Oct 2015 07:27:50 GMT"  # 1445412470


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("1445412500", 30),
        (" 1445412500 ", 30),
        ("1445412400", 1),  # over already
        ("1545412500", 3600),
        ("45", 45),  # in seconds from now, as some say it
        ("0", 1),
        ("86401", None),  # neither seconds of a day nor an instant of these years
        ("-5", None),
        ("1445412500.5", 31),
        ("1445412500000", 30),  # in milliseconds
        ("1445412500000000", 30),
        ("6m0s", 360),
        ("2m59.56s", 180),
        ("7.66s", 8),
        ("76ms", 1),
        ("1h", 3600),
        ("2d3h", 3600),
        ("2015-10-21T07:28:00Z", 10),
        ("2015-10-21T07:28:00", 10),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 10),
        ("20151021", None),
        ("6m0", None),
        ("m", None),
        ("soon", None),
        ("٣", None),
        ("9" * 400, None),
        ("", None),
    ],
)
def test_the_end_of_a_limit_counts_from_the_answers_own_clock(told: str, expected: float | None) -> None:
    assert until_reset({"x-ratelimit-reset": told, "date": SENT}) == expected
    assert until_reset({"ratelimit-reset": told, "date": SENT}) == expected
    assert until_reset({}) is None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"ratelimit": '"default";r=0;t=30'}, 30),
        ({"ratelimit": "limit=100, remaining=0, reset=50"}, 50),
        ({"ratelimit": "limit=100, remaining=0"}, None),
        ({"x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-reset-requests": "8h0m0s", "x-ratelimit-reset-tokens": "2s"}, 2),
        (
            {
                "x-ratelimit-reset-requests": "8m0s",
                "x-ratelimit-reset-tokens": "2s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-remaining-tokens": "900",
            },
            480,
        ),
        ({"x-ratelimit-reset-tokens": "0", "x-ratelimit-remaining-tokens": "-1"}, 1),
    ],
)
def test_a_limit_of_several_kinds_ends_with_the_one_that_is_reached(
    headers: dict[str, str], expected: float | None
) -> None:
    assert until_reset(headers) == expected


def test_a_limit_that_names_its_end_alone_keeps_the_breaker_open_for_as_long(service: Make, database_url: str) -> None:
    one = service(database_url, breaker_threshold=1)
    with FaultServer(faults.status(429, X_RateLimit_Reset="600")) as server:
        assert failure(one, server.url).reason == "rate_limited"
        found = failure(one, server.url)
        assert len(server.requests) == 1
    assert isinstance(found, CircuitOpen)
    assert 500 < (found.retry_after or 0) <= 600


def test_the_deadline_cuts_attempts_short(service: Make) -> None:
    with FaultServer(faults.hang) as server:
        started = time.monotonic()
        found = failure(service(timeout_seconds=1, deadline_seconds=1.5), server.url)
        assert time.monotonic() - started < 1.5 + SLACK
        assert len(server.requests) == found.attempts == 2
        server.faults = (faults.hang,)
        started = time.monotonic()
        assert failure(service(timeout_seconds=15, deadline_seconds=1), server.url).attempts == 1
        assert time.monotonic() - started < 1 + SLACK


def test_calls_attempts_timeouts_and_seconds_are_counted(service: Make, database_url: str) -> None:
    one = service(database_url, timeout_seconds=1)
    with FaultServer(faults.hang, OK, faults.status(500), faults.status(422)) as server:
        call(one, server.url)
        failure(one, server.url)
    assert counted(database_url) == {
        "api_attempts_total{embeddings,ok,openai}": 1,
        "api_attempts_total{embeddings,rejected,openai}": 1,
        "api_attempts_total{embeddings,timeout,openai}": 1,
        "api_attempts_total{embeddings,unavailable,openai}": 1,
        "api_requests_total{embeddings,ok,openai}": 1,
        "api_requests_total{embeddings,rejected,openai}": 1,
        "api_timeouts_total{openai}": 1,
    }
    seconds = dict(
        rows(database_url, "SELECT name, sum(value) FROM litgo.metric_state WHERE name LIKE 'ext%' GROUP BY 1")
    )
    assert seconds["external_api_duration_seconds_bucket"] == 2
    assert seconds["external_api_duration_seconds_sum"] >= 0.5


def test_the_fallback_stands_in_and_is_counted(service: Make, database_url: str) -> None:
    one = service(database_url)
    with FaultServer(faults.status(503), faults.status(503), faults.status(503), faults.html, OK) as server:
        assert [reason_of_fallback(one, server.url) for _ in range(3)] == ["unavailable", "invalid", [1, 2]]
    found = {name: value for name, value in counted(database_url).items() if name.startswith("fallback")}
    assert found == {"fallback_usage_total{unavailable,openai}": 1, "fallback_usage_total{invalid,openai}": 1}
    lines = [json.loads(line) for line in one.log.lines]
    assert [(line["event"], line["service"], line["reason"]) for line in lines] == [
        ("external_service_fallback", "openai", "unavailable"),
        ("external_service_fallback", "openai", "invalid"),
    ]


def test_with_fallbacks_off_the_failure_is_raised(service: Make, database_url: str) -> None:
    one = service(database_url, fallback_enabled=False)
    with FaultServer(faults.status(401)) as server, pytest.raises(PermanentFailure):
        one.with_fallback(lambda: call(one, server.url), lambda found: pytest.fail("the fallback was used"))
    assert not [name for name in counted(database_url) if name.startswith("fallback")]


def test_an_open_breaker_answers_at_once_and_closes_on_success(service: Make, database_url: str) -> None:
    one, other = (service(database_url, breaker_pause_seconds=600) for _ in range(2))
    with FaultServer(faults.status(500)) as server:
        assert failure(one, server.url).attempts == 3
        found = failure(other, server.url)  # opens at the fifth attempt, so that the sixth is not made
        assert isinstance(found, CircuitOpen)
        assert (found.attempts, len(server.requests)) == (2, 5)
        for each in (one, other):
            assert reason_of_fallback(each, server.url) == "circuit_open"
        assert len(server.requests) == 5
        let_pause_pass(database_url)
        found = failure(one, server.url)  # the probe, which fails: one attempt
        assert (found.reason, found.attempts, len(server.requests)) == ("circuit_open", 1, 6)
        let_pause_pass(database_url)
        server.faults = (OK,)
        assert call(other, server.url) == [1, 2]
    assert rows(database_url, "SELECT state, failures FROM litgo.circuit_breakers WHERE service = 'openai'") == [
        ("closed", 0)
    ]
    assert counted(database_url)["fallback_usage_total{circuit_open,openai}"] == 2
    assert counted(database_url)["api_requests_total{embeddings,circuit_open,openai}"] == 4
    timed = "SELECT sum(value) FROM litgo.metric_state WHERE name = 'external_api_duration_seconds_bucket'"
    assert rows(database_url, timed) == [(4,)]  # of six calls: two never got as far as the service
    events = [json.loads(line)["event"] for line in one.log.lines + other.log.lines]
    assert "circuit_breaker_opened" in events
    assert "circuit_breaker_closed" in events


@pytest.mark.parametrize("fault", [faults.status(404), faults.status(401), faults.status(422), faults.status(409)])
def test_a_service_that_rejects_is_up(service: Make, database_url: str, fault: faults.Fault) -> None:
    one = service(database_url, attempts=1)
    with FaultServer(fault) as server:
        for _ in range(7):
            assert not isinstance(failure(one, server.url), CircuitOpen)
        assert len(server.requests) == 7


@pytest.mark.parametrize("code", [400, 409, 429, 503])
def test_a_limit_of_one_thing_says_nothing_of_the_service_and_one_of_all_opens_the_breaker(
    service: Make, database_url: str, code: int
) -> None:
    of_one = service(database_url, attempts=1, refusal=lambda answer: Refusal("ONE", of_one=True))
    of_all = service(database_url, attempts=1, refusal=lambda answer: Refusal("ALL", limit_reached=True))
    with FaultServer(faults.status(code)) as server:
        for _ in range(7):
            assert failure(of_one, server.url).reason == "rate_limited"
        assert failure(of_all, server.url).reason == "rate_limited"
        assert isinstance(failure(of_one, server.url), CircuitOpen)
        assert len(server.requests) == 8


def test_a_long_retry_after_keeps_the_breaker_open_for_as_long(service: Make, database_url: str) -> None:
    one = service(database_url, breaker_threshold=1)
    with FaultServer(faults.too_many_requests(600)) as server:
        assert failure(one, server.url).reason == "rate_limited"
        found = failure(one, server.url)
        assert len(server.requests) == 1
    assert isinstance(found, CircuitOpen)
    assert 500 < (found.retry_after or 0) <= 600


def test_a_database_that_says_nothing_does_not_hold_the_call_up(service: Make) -> None:
    with FaultServer(faults.hang) as silent, FaultServer(OK) as server:
        one = service(silent.url.replace("http://", "postgresql://u@") + "/litgo")
        started = time.monotonic()
        assert [call(one, server.url) for _ in range(3)] == [[1, 2]] * 3
        assert time.monotonic() - started < 2 + SLACK  # one wait of 2 s, not one a statement
    events = [json.loads(line) for line in one.log.lines]
    assert {event["event"] for event in events} == {"circuit_breaker_unavailable", "metrics_not_counted"}
    assert next(event["deltas"] for event in events if "deltas" in event)[0][0] == "api_requests_total"


def test_a_database_that_is_down_or_not_migrated(service: Make, postgres_server_url: str) -> None:
    with FaultServer(OK) as server:
        for url in ("postgresql://u@127.0.0.1:1/litgo", postgres_server_url):
            one = service(url)
            assert call(one, server.url) == [1, 2]
            assert [json.loads(line)["event"] for line in one.log.lines] == [
                "circuit_breaker_unavailable",
                "metrics_not_counted",
            ]


def test_an_interrupted_call_ends_at_once_and_the_next_one_works(service: Make, database_url: str) -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(*_: Any) -> None:
        raise Interrupted

    def send_signal() -> None:
        while not server.requests:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    one = service(database_url)
    try:
        with FaultServer(faults.hang, OK) as server:
            threading.Thread(target=send_signal, daemon=True).start()
            started = time.monotonic()
            with pytest.raises(Interrupted):
                call(one, server.url)
            assert time.monotonic() - started < one.timeout_seconds
            assert call(one, server.url) == [1, 2]
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert counted(database_url)["api_requests_total{embeddings,ok,openai}"] == 1


def test_threads_share_one_service(service: Make, database_url: str) -> None:
    one = service(database_url)
    found: list[Any] = []
    with FaultServer(OK) as server:
        threads = [threading.Thread(target=lambda: found.append(call(one, server.url))) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [[1, 2]] * 12
    assert counted(database_url)["api_attempts_total{embeddings,ok,openai}"] == 12
