"""Connections that stay open between requests: what the end of one does to the next request, and to no other."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from litgo_pipelines.resources import bounded
from litgo_pipelines.resources.bounded import Answer, CertificateNotTrusted
from litgo_pipelines.simulation import faults
from litgo_pipelines.simulation.faults import Fault, FaultServer, Handler

FIRST, SECOND = b'{"answer": 1}', b'{"answer": 2}'


def send(url: str, *, seconds: float = 10.0, **headers: str) -> Answer:
    return bounded.send("POST", f"{url}/v1", seconds=seconds, most_bytes=100_000, headers=headers, content=b"{}")


def settle() -> None:
    """What a server did after its answer has reached this side."""
    time.sleep(0.1)


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    found = faults.self_signed(tmp_path / "server.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(found))
    bounded._trusted.cache_clear()
    yield found
    bounded._trusted.cache_clear()


def ports(server: FaultServer) -> list[int]:
    return [request.port for request in server.requests]


def test_requests_share_a_connection(certificate: Path) -> None:
    with FaultServer(faults.kept(FIRST), certificate=certificate) as server:
        assert [send(server.url).body for _ in range(3)] == [FIRST] * 3
        assert len(set(ports(server))) == 1


def test_threads_share_connections() -> None:
    with FaultServer(faults.kept(FIRST)) as server:

        def work() -> None:
            for _ in range(5):
                assert send(server.url).body == FIRST

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ports(server)) == 20
        assert len(set(ports(server))) <= 4


def late_reset(handler: Handler) -> None:
    """Once the answer has been read, of which a reset would take the rest away."""
    handler.pause(0.05)
    faults.reset(handler)


def late_word(handler: Handler) -> None:
    """What some servers say to an idle connection before they close it."""
    handler.wfile.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("end", [faults.hang_up, faults.half_close, late_reset, late_word])
@pytest.mark.parametrize("tls", [False, True])
def test_a_connection_that_its_server_has_ended_is_replaced(certificate: Path, end: Fault, tls: bool) -> None:
    with FaultServer(
        faults.kept_then(end, FIRST), faults.kept(SECOND), certificate=certificate if tls else None
    ) as server:
        assert send(server.url).body == FIRST
        settle()
        assert send(server.url).body == SECOND
        assert len(set(ports(server))) == 2


@pytest.mark.parametrize("fault", [faults.reset, faults.hang_up, faults.cut_short, faults.not_http, faults.compressed])
def test_one_that_breaks_with_a_request_on_it_sends_nothing_twice(fault: Fault) -> None:
    with FaultServer(faults.kept(FIRST), fault, faults.kept(SECOND)) as server:
        assert send(server.url).body == FIRST
        with pytest.raises(ConnectionError):
            send(server.url)
        first, second = ports(server)
        assert first == second
        assert send(server.url).body == SECOND
        assert len(server.requests) == 3


@pytest.mark.parametrize("fault", [faults.hang, faults.drip, faults.drip_headers])
def test_a_deadline_ends_its_own_request_and_no_other(fault: Fault) -> None:
    with FaultServer(faults.kept(FIRST), fault, faults.kept(SECOND)) as server:
        send(server.url)
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            send(server.url, seconds=0.3)
        assert time.monotonic() - started < 3
        assert send(server.url).body == SECOND
        assert len({*ports(server)}) == 2


def test_a_huge_body_takes_its_connection_with_it() -> None:
    with FaultServer(faults.kept(b" " * 300_000), faults.kept(SECOND)) as server:
        with pytest.raises(bounded.AnswerTooLarge):
            send(server.url)
        assert send(server.url).body == SECOND


def two_answers(handler: Handler) -> None:
    faults.kept(FIRST)(handler)
    faults.kept(b'{"answer": "of nobody"}')(handler)


@pytest.mark.parametrize("together", [True, False])
def test_more_than_the_answer_is_not_the_next_ones(together: bool) -> None:
    def both(handler: Handler) -> None:
        whole = b"".join(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body) for body in (FIRST, b"of nobody")
        )
        handler.wfile.write(whole)
        handler.close_connection = False

    with FaultServer(both if together else two_answers, faults.kept(SECOND)) as server:
        assert send(server.url).body == FIRST
        settle()
        assert send(server.url).body == SECOND
        assert len(set(ports(server))) == 2


def test_no_cookie_goes_back() -> None:
    with FaultServer(faults.kept(FIRST, Set_Cookie="session=1; Path=/")) as server:
        send(server.url)
        send(server.url)
        assert "cookie" not in server.requests[1].headers


def test_nothing_of_one_request_is_in_the_next() -> None:
    with FaultServer(faults.kept(FIRST)) as server:
        send(server.url, Authorization="secret", Idempotency_Key="1")
        send(server.url)
        assert "authorization" not in server.requests[1].headers


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(code: int) -> None:
    with FaultServer(faults.kept(FIRST)) as other, FaultServer(faults.status(code, Location=other.url)) as server:
        assert send(server.url).status == code
        assert other.requests == []


def test_a_proxy_named_meanwhile_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer(faults.kept(FIRST)) as server, FaultServer(faults.kept(SECOND)) as proxy:
        assert send(server.url).body == FIRST
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert send(server.url).body == SECOND
        assert len(server.requests) == len(proxy.requests) == 1
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert send(server.url).body == FIRST


def test_who_is_not_trusted_any_more_is_not_reached_by_an_open_connection(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultServer(faults.kept(FIRST), certificate=certificate) as server:
        send(server.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(faults.self_signed(tmp_path / "other.pem")))
        bounded._trusted.cache_clear()
        with pytest.raises(CertificateNotTrusted):
            send(server.url)
        assert len(server.requests) == 1


def test_a_child_has_connections_of_its_own() -> None:
    with FaultServer(faults.kept(FIRST)) as server:
        send(server.url)
        child = os.fork()
        if not child:
            os._exit(0 if send(server.url).body == FIRST else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        send(server.url)
        ours, theirs, again = ports(server)
        assert ours == again != theirs


def test_a_connection_nobody_uses_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "KEPT", 0.2)
    closed = threading.Event()

    def watch(handler: Handler) -> None:
        faults.kept(FIRST)(handler)
        finish = handler.finish
        handler.finish = lambda: (closed.set(), finish())  # type: ignore[assignment, method-assign, func-returns-value]

    monkeypatch.setenv("no_proxy", "127.0.0.1,another")  # a client made from now on
    with FaultServer(watch) as server:
        send(server.url)
        assert not closed.is_set()
        assert closed.wait(5)


def test_a_host_whose_name_hangs_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    look_up: Callable[..., object] = socket.getaddrinfo
    answered = threading.Event()

    def slow(host: object, *rest: object, **options: object) -> object:
        if host in ("api.example", b"api.example"):
            answered.wait(60)
        return look_up(host, *rest, **options)

    def fails() -> None:
        with pytest.raises(TimeoutError):
            send("http://api.example", seconds=1.0)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with FaultServer(faults.kept(FIRST)) as server:
        waiting = [threading.Thread(target=fails) for _ in range(12)]
        for thread in waiting:
            thread.start()
        assert send(server.url.replace("127.0.0.1", "localhost")).body == FIRST
        for thread in waiting:
            thread.join()
        answered.set()
