"""The ASGI application in front of Dagster's: every request passes its checks, in this order.

Host, method, Origin, who asks, and what a GraphQL document does. What is refused never reaches Dagster.
"""

import secrets
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qs, quote

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from litgo_pipelines.observability.hosts import Hosts
from litgo_pipelines.runtime.ui import pages, rules
from litgo_pipelines.runtime.ui.accounts import Identity, Sessions, Tries, read_accounts
from litgo_pipelines.runtime.ui.office import PATH, Office
from litgo_pipelines.settings import Settings, SettingsError
from litgo_pipelines.steps import UNAUTHENTICATED

IDENTITY = "litgo.identity"  # in a request's scope
ACTOR: ContextVar[str | None] = ContextVar("actor", default=None)  # who is behind what this process writes
COOKIE = "litgo_session"
LONGEST_FORM = 4_096  # bytes
POLICY_VIOLATED = 1008  # a WebSocket's closing code
HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
}
NO_FRAMES = "frame-ancestors 'none'; object-src 'none'; form-action 'self'"


@dataclass
class Access:
    """Who may ask for what, from the settings. Without accounts and proxy everyone who gets here is an operator."""

    hosts: Hosts
    sessions: Sessions
    proxy_header: str | None = None
    proxies: tuple[rules.Network, ...] = ()
    proxy_operators: frozenset[str] = frozenset()
    secure: bool = False
    by_address: Tries = field(default_factory=lambda: Tries(10, 300))
    by_name: Tries = field(default_factory=lambda: Tries(30, 300))

    @classmethod
    def read(cls, values: Settings) -> "Access":
        """Raises SettingsError, whose message names the setting and holds no secret."""
        public = (values.dagster_url or "").partition("://")
        key = values.litgo_ui_session_key.encode() if values.litgo_ui_session_key else secrets.token_bytes(32)
        if len(key) < 32:
            raise SettingsError("LITGO_UI_SESSION_KEY needs 32 characters or more: openssl rand -hex 32")
        proxies = rules.networks(values.litgo_ui_proxies, "LITGO_UI_PROXIES")
        if values.litgo_ui_proxy_header and not proxies:
            raise SettingsError("LITGO_UI_PROXY_HEADER needs LITGO_UI_PROXIES: the proxy's addresses")
        return cls(
            hosts=Hosts.read(values.dagster_allowed_hosts, public[2].partition("/")[0]),
            sessions=Sessions(key, read_accounts(values.litgo_ui_users), values.litgo_ui_session_hours * 3600),
            proxy_header=values.litgo_ui_proxy_header or None,
            proxies=proxies,
            proxy_operators=frozenset(name.strip() for name in values.litgo_ui_proxy_operators.split(",")),
            secure=public[0].lower() == "https",
        )

    @property
    def open(self) -> bool:
        return not self.sessions.accounts and self.proxy_header is None

    def address(self, scope: Scope, headers: Headers) -> str:
        """Of the browser: what the proxy says of it where a proxy of ours asks."""
        peer = scope["client"][0] if scope.get("client") else ""
        forwarded = headers.getlist("x-forwarded-for")
        return forwarded[-1].rpartition(",")[2].strip() if forwarded and rules.within(peer, self.proxies) else peer

    def identity(self, scope: Scope, headers: Headers, now: float) -> Identity | None:
        if self.open:
            return Identity(UNAUTHENTICATED, operator=True)
        peer = scope["client"][0] if scope.get("client") else ""
        if self.proxy_header and rules.within(peer, self.proxies):
            given = headers.getlist(self.proxy_header)
            if len(given) != 1 or not given[0].strip() or len(given[0]) > 200 or not given[0].isprintable():
                return None
            name = given[0].strip()
            return None if name == UNAUTHENTICATED else Identity(name, name in self.proxy_operators)
        for header in headers.getlist("cookie"):
            for part in header.split(";"):  # whatever else stands there: other ports of a host share its cookies
                cookie, _, value = part.strip().partition("=")
                if cookie == COOKIE and (found := self.sessions.read(value, now)):
                    return found
        return None


class Doors:
    """`app` is Dagster's application, served below `prefix`; `office` the page for people who need not see Dagster."""

    def __init__(self, app: ASGIApp, access: Access, office: Office, prefix: str = "") -> None:
        self.app, self.access, self.office, self.prefix = app, access, office, prefix
        self._hashing = anyio.Semaphore(2)  # each takes 32 MB

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http":
            guarded = self._with_headers(send)
            answer = await self._http(scope, receive, guarded)
            if answer is not None:
                await answer(scope, receive, guarded)
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        """An answer of our own, or None when Dagster has given its."""
        headers, method = Headers(scope=scope), scope["method"]
        path = scope["path"].removeprefix(self.prefix) if self.prefix else scope["path"]
        reads = method in ("GET", "HEAD")
        if reads and path == "/server_info":  # for health checks, which ask by address; holds versions only
            await self.app(scope, receive, send)
            return None
        if refused := self._refuse(scope, headers):
            return PlainTextResponse(refused, 403)
        if not reads and method != "POST":
            return PlainTextResponse("GET and POST only", 405)
        who = self.access.identity(scope, headers, time.time())
        if path in ("/litgo/login", "/litgo/logout") and self.access.sessions.accounts:
            return await self._account(Request(scope, receive), path, who)
        if who is None:
            return self._ask_to_log_in(scope, headers, reads)
        if path.rstrip("/") == PATH:
            leave = f"{self.prefix}/litgo/logout" if self.access.sessions.accounts else None
            return await self.office(who.name, leave) if reads else PlainTextResponse("GET only", 405)
        if unfit := self._refuse_document(scope, headers, path, reads, who):
            return PlainTextResponse(unfit[1], unfit[0])
        scope[IDENTITY] = who
        actor = ACTOR.set(who.name)
        try:
            await self.app(scope, receive, send)
        finally:
            ACTOR.reset(actor)
        return None

    def _refuse(self, scope: Scope, headers: Headers) -> str | None:
        """Why a request comes under a wrong name or from another site's page; None where it does not."""
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self.access.hosts.allow(hosts[0]):
            return "this Host is not in DAGSTER_ALLOWED_HOSTS"
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            return None
        # Browsers name the Origin of every POST and WebSocket; a program that is none may leave it out.
        foreign = headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
        if foreign or len(origins) > 1 or (origins and not rules.same_origin(origins[0], hosts[0])):
            return "a page of another site asked for this: refused"
        return None

    def _refuse_document(
        self, scope: Scope, headers: Headers, path: str, reads: bool, who: Identity
    ) -> tuple[int, str] | None:
        graphql = path.strip("/") == "graphql"
        if graphql and reads:
            given = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("query", [])
            if not all(map(rules.only_reads, given)):
                return 405, "by GET only what parses and changes nothing: send it by POST"
        elif graphql and not rules.as_pages_send(headers.get("content-type", "")):
            return 415, "GraphQL by POST is application/json"
        elif not reads and not graphql and not who.operator:
            return 403, "this account may look and not change"
        return None

    def _ask_to_log_in(self, scope: Scope, headers: Headers, reads: bool) -> Response:
        if reads and "text/html" in headers.get("accept", "") and self.access.sessions.accounts:
            asked = scope["path"] + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
            return RedirectResponse(f"{self.prefix}/litgo/login?next={quote(asked, safe='')}", 303)
        return PlainTextResponse("log in first", 401)

    async def _account(self, request: Request, path: str, who: Identity | None) -> Response:
        """The pages of login and logout."""
        action = f"{self.prefix}{path}"
        if path == "/litgo/logout":
            if request.method == "POST":
                left = RedirectResponse(f"{self.prefix}/litgo/login", 303)
                left.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax", secure=self.access.secure)
                return left
            return _page(pages.logout(action, who.name if who else "–"))
        if request.method == "POST":
            return await self._log_in(request, action)
        return _page(pages.login(action, rules.local_path(request.query_params.get("next", "/"))))

    async def _log_in(self, request: Request, action: str) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
            return PlainTextResponse("a form, please", 415)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LONGEST_FORM:
                return PlainTextResponse("too long", 413)
        form = {key: values[-1] for key, values in parse_qs(body.decode("utf-8", "replace")).items()}
        name, following = form.get("name", "")[:64], rules.local_path(form.get("next", "/"))
        now, address = time.time(), self.access.address(request.scope, request.headers)
        wait = max(self.access.by_address.wait(address, now), self.access.by_name.wait(name, now))
        if wait:
            page = _page(pages.login(action, following, "Tentativas demais. Aguarde alguns minutos."), 429)
            page.headers["Retry-After"] = str(int(wait) + 1)
            return page
        self.access.by_address.count(address, now)
        self.access.by_name.count(name, now)
        async with self._hashing:
            account = await run_in_threadpool(self.access.sessions.enter, name, form.get("password", ""))
        if account is None:
            return _page(pages.login(action, following, "Usuário ou senha incorretos."), 401)
        self.access.by_address.forget(address)
        self.access.by_name.forget(name)
        entered = RedirectResponse(following, 303)
        samesite: Literal["lax"] = "lax"  # a link in an alert opens the page; what changes things is POST
        entered.set_cookie(
            COOKIE,
            self.access.sessions.issue(account, now),
            max_age=int(self.access.sessions.seconds),
            path="/",
            secure=self.access.secure,
            httponly=True,
            samesite=samesite,
        )
        return entered

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        who = None if self._refuse(scope, headers) else self.access.identity(scope, headers, time.time())
        if who is None:
            await send({"type": "websocket.close", "code": POLICY_VIOLATED})
            return
        scope[IDENTITY] = who

        async def read() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive":
                frame = message.get("text") if message.get("text") is not None else message.get("bytes")
                if not rules.frame_only_reads(frame):
                    await send({"type": "websocket.close", "code": POLICY_VIOLATED})
                    return {"type": "websocket.disconnect", "code": POLICY_VIOLATED}
            return message

        await self.app(scope, read, send)

    def _with_headers(self, send: Send) -> Send:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.append("Content-Security-Policy", NO_FRAMES)
                if self.access.secure:
                    headers["Strict-Transport-Security"] = "max-age=31536000"
            await send(message)

        return answer


def _page(content: str, status: int = 200) -> Response:
    return HTMLResponse(content, status, {"Content-Security-Policy": pages.POLICY, "Cache-Control": "no-store"})
