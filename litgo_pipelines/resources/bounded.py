"""Bounded waiting: one HTTP request and one short statement, each under a total time limit.

A client's own timeout starts again with every byte, so it bounds no answer that drips. Nothing here retries, counts or
knows a service: that is `external_service`'s.
"""

import asyncio
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import psycopg2

from litgo_pipelines.database import SEARCH_PATH, DatabaseUnavailable, libpq
from litgo_pipelines.database.session import wait


class CertificateNotTrusted(ConnectionError):
    """The server's certificate is not one we trust; nothing was sent."""


class AnswerTooLarge(ValueError):
    """The answer went beyond the limit of bytes; reading stopped there."""


@dataclass(frozen=True)
class Answer:
    """`headers`: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def send(
    method: str, url: str, *, seconds: float, most_bytes: int, headers: Mapping[str, str], content: bytes | None = None
) -> Answer:
    """One request, from the look-up of the name to the last byte of the body within `seconds`. Follows no redirect.

    Certificates are checked; SSL_CERT_FILE and the proxy variables of the environment are honoured. Raises
    TimeoutError, ConnectionError (refused, reset, cut short, not HTTP), CertificateNotTrusted, AnswerTooLarge, and
    ValueError for a request that cannot be sent. No message holds anything of the request or the answer.
    """
    loop = asyncio.new_event_loop()  # not asyncio.run: it waits at its end for a look-up of a name that hangs
    try:
        return loop.run_until_complete(_send(method, url, seconds, most_bytes, headers, content))
    finally:
        if left := asyncio.all_tasks(loop):  # interrupted
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left, timeout=1))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _send(
    method: str, url: str, seconds: float, most_bytes: int, headers: Mapping[str, str], content: bytes | None
) -> Answer:
    import httpx2

    # `from None` throughout: these errors quote header values and what the server wrote.
    try:
        async with (
            asyncio.timeout(seconds),
            httpx2.AsyncClient(verify=_trusted(), timeout=None) as client,
            client.stream(method, url, content=content, headers={**headers, "Accept-Encoding": "identity"}) as answer,
        ):
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise ConnectionError("an encoding that was not asked for")  # a small body may become a huge one
            body = bytearray()
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > most_bytes:
                    raise AnswerTooLarge(f"more than {most_bytes} bytes")
            return Answer(answer.status_code, dict(answer.headers), bytes(body))
    except TimeoutError:
        raise TimeoutError(f"no complete answer within {seconds:.3g} s") from None
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, UnicodeError) as error:
        raise ValueError(f"a request that cannot be sent ({type(error).__name__})") from None
    except httpx2.TransportError as error:
        if _has(error, ssl.SSLCertVerificationError):
            raise CertificateNotTrusted("certificate not trusted") from None
        raise ConnectionError(type(error).__name__) from None


@cache
def _trusted() -> ssl.SSLContext:
    import httpx2

    return httpx2.create_ssl_context()


def _has(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None


class BriefDatabase:
    """One autocommit connection for single short statements that must hold nothing up.

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
        if self._connection is None or self._connection.closed:
            self._connection = psycopg2.connect(
                libpq(self._url),
                application_name="litgo-services",
                client_encoding="UTF8",
                async_=True,  # the only form in which the client does not wait forever
            )
            wait(self._connection, until)
            with self._connection.cursor() as cursor:  # not at the connection's start: a pooler ignores or refuses that
                cursor.execute(f"{SEARCH_PATH}; SET statement_timeout = {max(1, int(self._seconds * 1000))}")
                wait(self._connection, until)
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            wait(self._connection, until)
            return cursor.fetchone() if cursor.description else None
