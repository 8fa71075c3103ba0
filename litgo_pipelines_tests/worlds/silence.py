"""A TCP proxy on the loopback in front of a server, which falls silent: it accepts, and forwards nothing any more."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.engine import make_url

from litgo_pipelines_tests.support import free_port


class Proxy:
    """`silent`: nothing passes; `mute`: no answer passes; `stick()`: what is connected is silent, new ones are not."""

    def __init__(self, database_url: str) -> None:
        parsed = make_url(database_url)
        host = parsed.host or str(parsed.query["host"])
        self._server = host, parsed.port or 5432
        self.port = free_port()
        query = {key: value for key, value in parsed.query.items() if key != "host"}
        shown = parsed.set(host="127.0.0.1", port=self.port, query=query)
        self.url = shown.render_as_string(hide_password=False)
        self.silent = self.mute = False
        self.heard = b""  # what clients sent last
        self._stuck: set[socket.socket] = set()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._over = threading.Event()

    def stick(self) -> None:
        self._stuck = set(self._open)

    def accept(self) -> None:
        while not self._over.is_set():
            with suppress(OSError):
                client, _ = self._listener.accept()
                self._open.append(client)
                if not self.silent:
                    threading.Thread(target=self._pump, args=(client, self._connect()), daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = self._server
        if Path(host).is_absolute():
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{host}/.s.PGSQL.{port}")
        else:
            server = socket.create_connection((host, port))
        self._open.append(server)
        return server

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as selector, suppress(OSError):
            for one, other in ((client, server), (server, client)):
                selector.register(one, selectors.EVENT_READ, other)
            while not self._over.is_set():
                for key, _ in selector.select(0.1):
                    if not isinstance(key.fileobj, socket.socket):
                        continue
                    data = key.fileobj.recv(1 << 16)
                    if not data:
                        client.close()
                        server.close()
                        return
                    if key.fileobj is client:
                        self.heard = data
                    lost = self.silent or client in self._stuck or (self.mute and key.fileobj is server)
                    if not lost:
                        key.data.sendall(data)

    def close(self) -> None:
        self._over.set()
        for one in [self._listener, *self._open]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextmanager
def proxied(database_url: str) -> Iterator[Proxy]:
    proxy = Proxy(database_url)
    threading.Thread(target=proxy.accept, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.close()
