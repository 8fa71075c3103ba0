"""Bounded waiting: one HTTP request and one short statement, each under a total time limit.

A client's own timeout starts again with every byte, so it bounds no answer that drips. Nothing here retries, counts or
knows a service: that is `external_service`'s.
"""

import asyncio
import atexit
import os
import select
import ssl
import threading
import time
import zlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import psycopg2

from litgo_pipelines.database import Connection, DatabaseUnavailable, libpq, session_of
from litgo_pipelines.database.session import wait

if TYPE_CHECKING:
    import socket

    import httpx2

KEPT = 3.0  # seconds a connection waits for its next request; common servers close theirs after five and more
LATE = 2.0  # seconds beyond its own limit a request is waited for, should the event loop be held up
PLAIN, PACKED = ("identity", "none", "utf-8", "utf8"), ("gzip", "x-gzip", "deflate")  # as answers name their encoding
OF_PACKED = ("content-encoding", "content-length")  # headers that are not true of what was unpacked
LOOK_UPS = 32  # names looked up at once: one that hangs holds up no other host
# How a host is reached, and whom we trust.
ROUTES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
ENVIRONMENT = ("SSL_CERT_FILE", "SSL_CERT_DIR", *ROUTES, *map(str.upper, ROUTES))


class CertificateNotTrusted(ConnectionError):
    """The server's certificate is not one we trust; nothing was sent."""


class AnswerTooLarge(ValueError):
    """The answer went beyond the limit of bytes; reading stopped there."""


class Answer(NamedTuple):
    """`headers`: names in lower case; `certificate_ends`: of the server, seconds since 1970, None without TLS."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    certificate_ends: float | None = None


def send(
    method: str, url: str, *, seconds: float, most_bytes: int, headers: Mapping[str, str], content: bytes | None = None
) -> Answer:
    """One request, from the look-up of the name to the last byte of the body within `seconds`. Follows no redirect.

    The connection stays open for this process's next request to the same host. One that its server has closed meanwhile
    is replaced; one that breaks with a request on it is that request's ConnectionError, for nothing is sent twice here.

    Certificates are checked; SSL_CERT_FILE and the proxy variables of the environment are honoured. Raises
    TimeoutError, ConnectionError (refused, reset, cut short, not HTTP), CertificateNotTrusted, AnswerTooLarge, and
    ValueError for a request that cannot be sent. No message holds anything of the request or the answer.
    """
    asking = _connections().ask(_Request(method, url, headers, content, seconds, most_bytes))
    try:
        return asking.result(seconds + LATE)
    except TimeoutError:
        raise TimeoutError(f"no complete answer within {seconds:.3g} s") from None
    finally:
        asking.cancel()  # when this was interrupted; else it is done


class _Request(NamedTuple):
    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes | None
    seconds: float
    most_bytes: int


@dataclass
class _Kept:
    """A client with its open connections, and for which environment it was made."""

    client: "httpx2.AsyncClient"
    environment: tuple[object, ...]
    requests: int = 0  # under way
    unused: asyncio.TimerHandle | None = None


class _Connections:
    """Open connections of this process: one client on one event loop, in a thread of its own, for all who call.

    What of the environment decides how a host is reached is compared at each request; after a change there is a new
    client. Without requests for KEPT seconds nothing stays open.
    """

    def __init__(self) -> None:
        import httpx2  # noqa: F401  # here, so that the loop is not held up by it

        self._kept: _Kept | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(LOOK_UPS, thread_name_prefix="look-up"))
        self._thread = threading.Thread(target=self._loop.run_forever, name="connections", daemon=True)
        self._thread.start()

    def ask(self, request: _Request) -> "Future[Answer]":
        return asyncio.run_coroutine_threadsafe(self._ask(request), self._loop)

    def close(self) -> None:
        if self._kept:
            self._loop.call_soon_threadsafe(self._close, self._kept)
        self._loop.call_soon_threadsafe(self._loop.call_later, 0.05, self._loop.stop)
        self._thread.join(1)

    async def _ask(self, request: _Request) -> Answer:
        kept = self._current()
        kept.requests += 1
        if kept.unused:
            kept.unused.cancel()
        try:
            return await _within(kept.client, request)
        finally:
            kept.requests -= 1
            if not kept.requests:
                still = KEPT if kept is self._kept else 0
                kept.unused = self._loop.call_later(still, self._close, kept)

    def _current(self) -> _Kept:
        environment = (_trusted(), *(os.environ.get(name) for name in ENVIRONMENT))
        if self._kept is None or self._kept.environment != environment:
            if self._kept and not self._kept.requests:
                self._close(self._kept)
            self._kept = _Kept(_client(), environment)
        return self._kept

    def _close(self, kept: _Kept) -> None:
        if kept.unused:
            kept.unused.cancel()
        if kept is self._kept:
            self._kept = None
        closing = self._loop.create_task(kept.client.aclose())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


def _client() -> "httpx2.AsyncClient":
    from http.cookiejar import CookieJar, DefaultCookiePolicy

    import httpx2

    return httpx2.AsyncClient(
        verify=_trusted(),
        timeout=None,
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=LOOK_UPS, keepalive_expiry=KEPT),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # none is kept from one request to the next
    )


async def _within(client: "httpx2.AsyncClient", request: _Request) -> Answer:
    import httpx2

    headers = {**request.headers, "Accept-Encoding": "identity"}
    # `from None` throughout: these errors quote header values and what the server wrote.
    try:
        async with (
            asyncio.timeout(request.seconds),
            client.stream(request.method, request.url, content=request.content, headers=headers) as answer,
        ):
            certificate_ends = _certificate_ends(answer)  # before the connection may be closed
            encoding = answer.headers.get("content-encoding", "identity").strip().lower() or "identity"
            if encoding not in PLAIN and encoding not in PACKED:
                raise ConnectionError("an encoding that was not asked for")
            body = bytearray()
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > request.most_bytes:
                    raise AnswerTooLarge(f"more than {request.most_bytes} bytes")
            if _goes_on(answer):
                await answer.extensions["network_stream"].aclose()
            told, content = dict(answer.headers), bytes(body)
            if encoding in PACKED:
                content = _unpacked(content, request.most_bytes)
                told = {name: value for name, value in told.items() if name not in OF_PACKED}
            return Answer(answer.status_code, told, content, certificate_ends)
    except TimeoutError:
        raise TimeoutError(f"no complete answer within {request.seconds:.3g} s") from None
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, UnicodeError) as error:
        raise ValueError(f"a request that cannot be sent ({type(error).__name__})") from None
    except httpx2.TransportError as error:
        if _has(error, ssl.SSLCertVerificationError):
            raise CertificateNotTrusted("certificate not trusted") from None
        raise ConnectionError(type(error).__name__) from None


def _unpacked(body: bytes, most_bytes: int) -> bytes:
    """What some server packed although it was not asked to; a small body may become a huge one."""
    found, rest = bytearray(), body
    while rest:
        packed = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # whichever header it has
        try:
            found += packed.decompress(rest, most_bytes + 1 - len(found))
        except zlib.error:
            raise ConnectionError("a packed answer that is damaged") from None
        if len(found) > most_bytes:
            raise AnswerTooLarge(f"more than {most_bytes} bytes")
        if not packed.eof:
            raise ConnectionError("a packed answer that is cut short")
        rest = packed.unused_data
    return bytes(found)


def _certificate_ends(answer: "httpx2.Response") -> float | None:
    """Asked once a connection. From then on it knows its socket too: the client asks each idle connection, before and
    after each request, whether something came on it, and searching for the socket took a fifth of the loop's time."""
    stream = answer.extensions.get("network_stream")
    if stream is None:
        return None
    if stream not in _ends:
        tls, socket, asked = stream.get_extra_info("ssl_object"), stream.get_extra_info("socket"), stream.get_extra_info
        ends = (tls.getpeercert() or {}).get("notAfter") if tls is not None else None
        _ends[stream] = float(ssl.cert_time_to_seconds(ends)) if isinstance(ends, str) else None
        if socket is not None:
            stream.get_extra_info = lambda name: (
                (socket.fileno() < 0 or _spoken_to(socket)) if name == "is_readable" else asked(name)
            )
    return _ends[stream]


def _goes_on(answer: "httpx2.Response") -> bool:
    """Whether more came than the answer: the next request must not take it for its own. The client does not tell, so
    that its insides are looked at; where they are not as we know them, the connection is not kept."""
    try:
        connection = answer.stream._stream._httpcore_stream._stream._connection  # type: ignore[union-attr]
        left, _ = connection._h11_state.trailing_data
        return bool(left)
    except AttributeError:
        return True


def _spoken_to(connection: "Connection | socket.socket") -> bool:
    """Whether something came on a connection on which nothing was asked: its end, most likely."""
    looked_at = select.poll()
    looked_at.register(connection.fileno(), select.POLLIN)
    return bool(looked_at.poll(0))


def _connections() -> _Connections:
    global _open
    with _opening:
        if _open is None:
            _open = _Connections()
        return _open


def _after_fork() -> None:
    """A child has no thread for what its parent has open; it must not close it either."""
    global _open, _opening
    _parents.append(_open)
    _open, _opening = None, threading.Lock()


def _at_exit() -> None:
    if _open:
        _open.close()


_ends: WeakKeyDictionary[Any, float | None] = WeakKeyDictionary()  # of connections: seconds since 1970
_open: _Connections | None = None
_opening = threading.Lock()
_parents: list[_Connections | None] = []
os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)


@cache
def _trusted() -> ssl.SSLContext:
    import httpx2

    return httpx2.create_ssl_context()


def _has(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None


class BriefDatabase:
    """One autocommit connection for single short statements that must hold nothing up: a commit does not wait for the
    disk, and a server that crashes may lose the last instant's.

    Connecting and each statement end within `seconds`, even when the server has stopped without a word; after a
    failure nothing is tried for `pause` seconds, so that a database that is down costs one wait and not one per call.
    """

    def __init__(self, url: str, *, seconds: float = 2.0, pause: float = 10.0) -> None:
        self._url, self._seconds, self._pause = url, seconds, pause
        self._connection: Any = None
        self._not_before = 0.0
        self._lock = threading.Lock()

    def row(self, statement: str, parameters: object) -> tuple[Any, ...] | None:
        """The statement's first row, None when it gives none. Raises DatabaseUnavailable."""
        with self._lock:
            if time.monotonic() < self._not_before:
                raise DatabaseUnavailable("no answer a moment ago")
            try:
                return self._row(statement, parameters)
            except (psycopg2.Error, TimeoutError) as error:
                self._close()
                self._not_before = time.monotonic() + self._pause
                reason = f"{type(error).__name__} within {self._seconds:g} s"
            raise DatabaseUnavailable(reason)  # outside the handler: nothing of the statement goes with it

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _row(self, statement: str, parameters: object) -> tuple[Any, ...] | None:
        until = time.monotonic() + self._seconds
        if self._connection is not None and (self._connection.closed or _spoken_to(self._connection)):
            self._close()  # the server, or a pooler, has ended it meanwhile
        if self._connection is None:
            self._connection = psycopg2.connect(
                libpq(self._url),
                application_name="litgo-services",
                client_encoding="UTF8",
                async_=True,  # the only form in which the client does not wait forever
            )
            wait(self._connection, until)
            with self._connection.cursor() as cursor:  # not at the connection's start: a pooler ignores or refuses that
                limit = f"SET statement_timeout = {max(1, int(self._seconds * 1000))}"
                cursor.execute(f"{session_of(self._connection)}; {limit}; SET synchronous_commit = off")
                wait(self._connection, until)
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            wait(self._connection, until)
            return cursor.fetchone() if cursor.description else None
