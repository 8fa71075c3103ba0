"""Requests that must not reach Dagster's application, as bytes a client may send; in front of it a plain one counts."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from starlette.types import Message, Receive, Scope, Send

from litgo_pipelines.runtime.ui.doors import COOKIE, IDENTITY, Access, Doors
from litgo_pipelines.runtime.ui.office import Office
from litgo_pipelines.settings import Settings

HASH, OTHER = (f"scrypt.15.8.1.{letter * 22}.{letter * 43}" for letter in "AE")  # of no password
MUTATION = 'mutation { deleteRun(runId: "x") { __typename } }'
HOST, ORIGIN = "localhost:3000", "http://localhost:3000"
JSON = {"content-type": "application/json"}
Headers = dict[str, str] | list[tuple[str, str]]


@dataclass
class Inside:
    """In the place of Dagster's application: what reached it."""

    scopes: list[Scope] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            while (message := await receive())["type"] != "websocket.disconnect":
                if message["type"] == "websocket.receive":
                    self.frames.append(str(message.get("text") or message.get("bytes")))
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def access(users: str = "") -> Access:
    return Access.read(Settings(dagster_url=ORIGIN, litgo_ui_users=users, litgo_ui_session_key="k" * 32))


OPEN, CLOSED = access(), access(f"ana:operator:{HASH} olga:viewer:{OTHER}")


def raw(headers: Headers) -> list[tuple[bytes, bytes]]:
    pairs: Iterable[tuple[str, str]] = headers.items() if isinstance(headers, dict) else headers
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]


def asked(
    doors: Access, method: str, target: str, headers: Headers | None = None, body: bytes = b""
) -> tuple[int, Inside]:
    """(status, what reached the application)."""
    inside, sent = Inside(), list[Message]()
    path, _, query = target.partition("?")
    given = raw(headers or {})
    if not any(name == b"host" for name, _ in given):
        given.append((b"host", HOST.encode()))
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode("latin-1"),
        "headers": given,
        "client": ("127.0.0.1", 1),
        "scheme": "http",
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(Doors(inside, doors, Office(None))(scope, receive, send))
    return int(sent[0]["status"]), inside


def heard(doors: Access, headers: Headers, *frames: str | bytes) -> tuple[Inside, list[Message]]:
    inside, sent = Inside(), list[Message]()
    messages: list[Message] = [{"type": "websocket.connect"}]
    messages += [{"type": "websocket.receive", ("text" if isinstance(f, str) else "bytes"): f} for f in frames]
    messages.append({"type": "websocket.disconnect", "code": 1000})
    given = iter(messages)
    scope: Scope = {"type": "websocket", "path": "/graphql", "query_string": b"", "client": ("127.0.0.1", 1)}
    scope["headers"] = raw({"host": HOST, **dict(headers)})

    async def receive() -> Message:
        return next(given)

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(Doors(inside, doors, Office(None))(scope, receive, send))
    return inside, sent


REFUSED: dict[str, tuple[str, str, Headers, bytes]] = {
    **{
        f"Host {host!r}": ("GET", "/", {"host": host}, b"")
        for host in (
            *("evil.example", "localhost:3000@evil.example", "evil@localhost:3000", "localhost:3000, evil.example"),
            *("localhost.:3000", "localhost:3000.", "localhost:", "localhost:3000/", " localhost", "localhost\x00", ""),
            *(
                "[::1",
                "[::ffff:127.0.0.1]",
                "[fe80::1%25eth0]",
                "127.1",
                "2130706433",
                "0x7f.1",
                "0.0.0.0",
                "localhos\xb5",
            ),
        )
    },
    "no Host": ("GET", "/", [("host", ""), ("x-forwarded-host", HOST)], b""),
    "two Hosts": ("GET", "/", [("host", HOST), ("host", "evil.example")], b""),
    "a Host of a proxy's header": (
        "GET",
        "/",
        {"host": "evil.example", "x-forwarded-host": HOST, "forwarded": f"host={HOST}"},
        b"",
    ),
    **{
        f"Origin {origin!r}": ("POST", "/graphql", {**JSON, "origin": origin}, b"{}")
        for origin in (
            *("null", "", "http://evil.example", f"{ORIGIN}.evil.example", f"{ORIGIN}@evil.example", "file://"),
            *("http://localhost", "http://localhost:3001", "ftp://localhost:3000", f"{ORIGIN}/", f" {ORIGIN}"),
            *(
                f"{ORIGIN}, http://evil.example",
                "http://evil.example#localhost:3000",
                "//localhost:3000",
                "http:localhost:3000",
            ),
        )
    },
    "two Origins": ("POST", "/graphql", [*JSON.items(), ("origin", ORIGIN), ("origin", "http://evil.example")], b"{}"),
    "another site, without an Origin": ("POST", "/graphql", {**JSON, "sec-fetch-site": "cross-site"}, b"{}"),
    "another port, without an Origin": ("POST", "/graphql", {**JSON, "sec-fetch-site": "same-site"}, b"{}"),
    **{
        f"{method} of GraphQL": (method, "/graphql", JSON, b"{}")
        for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "QUERY")
    },
    "an overridden method": ("GET", f"/graphql?query={MUTATION}", {"x-http-method-override": "POST"}, b""),
    "an overridden method in the address": ("PUT", f"/graphql?_method=POST&query={MUTATION}", JSON, b""),
    **{
        f"GET {query[:60]}": ("GET", f"/graphql?{query}", {}, b"")
        for query in (
            *(f"query={MUTATION}", f"query={{version}}&query={MUTATION}", f"query={MUTATION}&query={{version}}"),
            *(
                f"query=%23c%0A{MUTATION}",
                f"query=%EF%BB%BF{MUTATION}",
                f"query={{a}}+{MUTATION}",
                "query=",
                "query=%00",
            ),
            *(f"%71uery={MUTATION}", f"query={MUTATION}&operationName=q", "query=" + "%7Ba" * 30_000, "query=mutation"),
        )
    },
    "HEAD of a mutation": ("HEAD", f"/graphql?query={MUTATION}", {}, b""),
    **{
        f"a body of {kind!r}": ("POST", path, {"content-type": kind}, json.dumps({"query": MUTATION}).encode())
        for path in ("/graphql", "/graphql/", "//graphql")
        for kind in (
            *("", "text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"),
            *(
                "text/plain; application/json",
                "application/json, text/plain",
                "application/json\x0b",
                "application/jsonp",
            ),
        )
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_reaches_nobody(name: str) -> None:
    method, target, headers, body = REFUSED[name]
    status, inside = asked(OPEN, method, target, headers, body)
    assert 400 <= status < 500
    assert inside.scopes == []


def test_what_the_pages_send_gets_through() -> None:
    for method, target, headers in (
        ("GET", "/", {}),
        ("GET", "/graphql?query={version}", {}),
        ("POST", "/graphql", {**JSON, "origin": ORIGIN, "sec-fetch-site": "same-origin"}),
        ("POST", "/graphql", {"content-type": "application/json; charset=utf-8"}),
        ("GET", "/", {"host": "LOCALHOST:3000"}),
        ("GET", "/", {"host": "[::1]:3000"}),
    ):
        assert asked(OPEN, method, target, headers)[0] == 200, (method, target, headers)


def session(name: str, now: float = 4e9) -> str:
    """As if it were issued at the instant."""
    return CLOSED.sessions.issue(CLOSED.sessions.accounts[name], now)


def forged() -> dict[str, str]:
    ana, olga = session("ana"), session("olga")
    name, until, signature = ana.split(".")
    other = access(f"ana:operator:{OTHER}").sessions
    return {
        "none": "",
        "expired": session("ana", 1e9),
        "another name under a viewer's signature": f"{name}.{'.'.join(olga.split('.')[1:])}",
        "a later end": f"{name}.{int(until) + 9}.{signature}",
        "an end without end": f"{name}.{'9' * 5_000}.{signature}",
        "no end": f"{name}.inf.{signature}",
        "no signature": f"{name}.{until}.",
        "half a signature": f"{name}.{until}.{signature[:32]}",
        "a signature in capitals": f"{name}.{until}.{signature.upper()}",
        "a signature of other signs": f"{name}.{until}.{'é' * 64}",
        "after a change of the password": other.issue(other.accounts["ana"], 4e9),
        "somebody unknown": f"ZXZl.{until}.{signature}",
        "no text": f"_____.{until}.{signature}",
        "more parts": f"{ana}.x",
        "in quotation marks": f'"{ana}"',
    }


@pytest.mark.parametrize("name", forged())
def test_a_session_that_nobody_issued_opens_nothing(name: str) -> None:
    cookie = {"cookie": f"{COOKIE}={forged()[name]}"}
    for method, target, more in (("GET", "/runs", {}), ("POST", "/graphql", JSON), ("GET", "//server_info", {})):
        status, inside = asked(CLOSED, method, target, {**cookie, **more}, b"{}")
        assert (status, inside.scopes) == (401, []), (method, target)
    inside, sent = heard(CLOSED, cookie, '{"type": "connection_init"}')
    assert inside.scopes == []
    assert sent[0]["type"] == "websocket.close"


@pytest.mark.parametrize(
    "beside",
    ["", '; x={"a":"b;c"}', "; bad key=1", "; =", '; y="', "; \xe9=\xff", f"; {COOKIE}=forged", "; $Version=1; a,b=c"],
)
def test_other_cookies_of_the_host_shut_nobody_out(beside: str) -> None:
    """Cookies know no ports: whatever else runs on this machine may set some."""
    for cookies in (f"{COOKIE}={session('ana')}{beside}", f"{beside.removeprefix('; ')}; {COOKIE}={session('ana')}"):
        status, inside = asked(CLOSED, "GET", "/runs", {"cookie": cookies})
        assert status == 200, cookies
        assert inside.scopes[0][IDENTITY].name == "ana"


def test_a_viewer_reaches_the_application_as_one_and_changes_nothing_by_other_ways() -> None:
    viewer = {"cookie": f"{COOKIE}={session('olga')}"}
    _, inside = asked(CLOSED, "POST", "/graphql", {**viewer, **JSON}, b"{}")
    assert inside.scopes[0][IDENTITY].operator is False
    for path in (
        "/report_asset_materialization/a",
        "/report_asset_check/a",
        "/report_asset_observation/a",
        "/graphiql",
    ):
        status, inside = asked(CLOSED, "POST", path, {**viewer, **JSON}, b"{}")
        assert (status, inside.scopes) == (403, []), path


FRAMES: dict[str, str | bytes] = {
    "a mutation": json.dumps({"type": "start", "payload": {"query": MUTATION}}),
    "of the newer protocol": json.dumps({"type": "subscribe", "payload": {"query": MUTATION}}),
    "twice": '{"type": "start", "payload": {"query": "{a}"}, "payload": {"query": "mutation {a}"}}',
    "of no type": json.dumps({"payload": {"query": MUTATION}}),
    "of another type": json.dumps({"type": "START", "payload": {"query": MUTATION}}),
    "a list of them": json.dumps([{"type": "start", "payload": {"query": MUTATION}}]),
    "a list of documents": json.dumps({"type": "start", "payload": [{"query": MUTATION}]}),
    "documents in a list": json.dumps({"type": "start", "payload": {"query": ["{a}", MUTATION]}}),
    "nothing to read": json.dumps({"type": "start", "payload": {"query": None}}),
    "by its hash": json.dumps({"type": "start", "payload": {"extensions": {"persistedQuery": {"sha256Hash": "x"}}}}),
    "bytes": json.dumps({"type": "start", "payload": {"query": MUTATION}}).encode(),
    "bytes of another kind": json.dumps({"type": "start", "payload": {"query": MUTATION}}).encode("utf-16"),
    "deep": '{"type": "start", "payload": ' + "[" * 100_000,
    "deeply nested": json.dumps({"type": "start", "payload": {"query": "{a" * 20_000}}),
    "no JSON": "start",
    "empty": "",
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_that_changes_or_cannot_be_read_ends_the_socket(name: str) -> None:
    inside, sent = heard(OPEN, {"origin": ORIGIN}, '{"type": "connection_init"}', FRAMES[name])
    assert inside.frames == ['{"type": "connection_init"}']
    assert {"type": "websocket.close", "code": 1008} in sent


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://localhost:3001", f"{ORIGIN}.evil.example"])
def test_a_socket_of_another_page_is_closed(origin: str) -> None:
    inside, sent = heard(OPEN, {"origin": origin, "sec-websocket-protocol": "graphql-ws"})
    assert inside.scopes == []
    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize(
    "next_page", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_a_login_leads_nowhere_else_and_writes_no_markup(next_page: str) -> None:
    sent: list[Message] = []

    async def ask() -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        scope: Scope = {"type": "http", "method": "GET", "path": "/litgo/login", "client": ("127.0.0.1", 1)}
        scope.update(headers=raw({"host": HOST}), scheme="http", server=("localhost", 3000))
        scope["query_string"] = f"next={next_page}".encode()
        await Doors(Inside(), CLOSED, Office(None))(scope, receive, send)

    asyncio.run(ask())
    assert b"evil" not in sent[1]["body"]
    assert b"javascript" not in sent[1]["body"]
