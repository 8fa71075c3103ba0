"""A server on loopback that fails in the ways real ones do, for the tests of every client.

    with FaultServer(status(500), json_answer({"id": 1})) as server:
        ...                                   # first request: 500, second and all further ones: the answer
        server.requests                       # what arrived: method, path, headers, body

A fault is a function of the request's handler; `hang`, `reset`, `drip` and the others below can be mixed freely.
"""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    """`headers`: names in lower case; `port`: the client's, the same one for all requests of a connection."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    port: int

    def json(self) -> Any:
        return json.loads(self.body)


class Handler(BaseHTTPRequestHandler):
    server: "_Server"
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.close_connection = True
        self.server.next_fault(Request(self.command, self.path, headers, body, self.client_address[1]))(self)

    do_GET = do_POST = do_PUT = do_DELETE = _any

    def log_message(self, format: str, *args: object) -> None:
        """Not on stderr: requests are in FaultServer.requests."""

    def pause(self, seconds: float) -> bool:
        """Wait; False when the test is over."""
        return not self.server.over.wait(seconds)


Fault = Callable[[Handler], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults, self.requests = faults, list[Request]()
        self.over, self.lock = threading.Event(), threading.Lock()

    def next_fault(self, request: Request) -> Fault:
        with self.lock:
            self.requests.append(request)
            return self.faults[min(len(self.requests), len(self.faults)) - 1]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has hung up is what most of these tests are about."""


class FaultServer:
    """The first request gets the first fault, and so on; the last one is for all further requests.

    `certificate`: a PEM file with key and certificate, then it speaks TLS.
    """

    def __init__(self, *faults: Fault, certificate: Path | None = None) -> None:
        self._server = _Server(faults)
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # The handshake belongs to the thread of the connection, not to the one that accepts.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def requests(self) -> list[Request]:
        return self._server.requests

    @property
    def faults(self) -> tuple[Fault, ...]:
        return self._server.faults

    @faults.setter
    def faults(self, faults: tuple[Fault, ...]) -> None:
        """From now on: forgets the requests so far."""
        with self._server.lock:
            self._server.faults = faults
            self._server.requests.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def answer(body: bytes, code: int = 200, content_type: str = "application/json", **headers: str) -> Fault:
    """A complete answer. Header names: `Retry_After` for Retry-After."""

    def fault(handler: Handler) -> None:
        _head(handler, code, content_type, len(body), headers)
        handler.wfile.write(body)

    return fault


def kept(body: bytes, **headers: str) -> Fault:
    """A complete answer after which the connection stays open for the next request."""

    def fault(handler: Handler) -> None:
        _head(handler, 200, "application/json", len(body), headers, connection="keep-alive")
        handler.wfile.write(body)
        handler.close_connection = False

    return fault


def kept_then(end: Fault, body: bytes) -> Fault:
    """An answer that promises to keep the connection, which then comes to this end."""

    def fault(handler: Handler) -> None:
        kept(body)(handler)
        handler.wfile.flush()
        handler.close_connection = True
        end(handler)

    return fault


def half_close(handler: Handler) -> None:
    """FIN from the server, which would still read."""
    handler.connection.shutdown(socket.SHUT_WR)
    handler.pause(60)


def json_answer(value: object, code: int = 200, **headers: str) -> Fault:
    return answer(json.dumps(value).encode(), code, **headers)


def status(code: int, **headers: str) -> Fault:
    return json_answer({"message": "secret-in-body"}, code, **headers)


def too_many_requests(seconds: float, *, as_date: bool = False) -> Fault:
    """429 with a Retry-After, in seconds or as a date (which knows whole seconds only)."""
    if not as_date:
        return status(429, Retry_After=f"{seconds:.0f}")

    def fault(handler: Handler) -> None:
        now = datetime.now(UTC).replace(microsecond=0)
        until = (now + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")
        status(429, Retry_After=until)(handler)

    return fault


def html(handler: Handler) -> None:
    """What a gateway says with status 200."""
    answer(b"<html>maintenance</html>", content_type="text/html")(handler)


def truncated_json(handler: Handler) -> None:
    answer(b'{"items": [1, 2')(handler)


def not_a_number(handler: Handler) -> None:
    answer(b'{"items": [NaN]}')(handler)


def cut_short(handler: Handler) -> None:
    """Promises more bytes than it sends."""
    _head(handler, 200, "application/json", 100, {})
    handler.wfile.write(b'{"items": [')


def hang(handler: Handler) -> None:
    """Takes the request and says nothing."""
    handler.pause(60)


def reset(handler: Handler) -> None:
    """RST instead of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def hang_up(handler: Handler) -> None:
    """FIN instead of an answer."""


def drip(handler: Handler) -> None:
    """A body of 1,000 bytes, one every twentieth of a second: no single wait is ever long."""
    _head(handler, 200, "application/json", 1000, {})
    _slowly(handler, b" " * 999 + b"1")


def drip_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    _slowly(handler, b"x" * 1000)


def endless(handler: Handler) -> None:
    """A body that does not end, as fast as it can."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    while handler.pause(0):
        handler.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


def compressed(handler: Handler) -> None:
    """Compressed although nobody asked for it."""
    answer(b"\x1f\x8b\x08\x00", Content_Encoding="gzip")(handler)


def not_http(handler: Handler) -> None:
    handler.wfile.write(b"220 secret-in-body ESMTP\r\n\r\n")


def refusing_url() -> str:
    """A URL whose port nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def self_signed(path: Path) -> Path:
    """Write key and certificate of 127.0.0.1, signed by itself, to a PEM file."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def _head(
    handler: Handler, code: int, content_type: str, length: int, headers: Mapping[str, str], connection: str = "close"
) -> None:
    handler.send_response(code)
    handler.send_header("Content-Type", content_type)
    handler.send_header("Content-Length", str(length))
    handler.send_header("Connection", connection)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def _slowly(handler: Handler, data: bytes) -> None:
    for byte in data:
        handler.wfile.write(bytes([byte]))
        if not handler.pause(0.05):
            return
