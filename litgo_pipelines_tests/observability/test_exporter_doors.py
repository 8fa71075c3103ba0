"""What somebody who reaches the exporter's port can do to it: nothing but ask, by one of its names."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import requests

from litgo_pipelines.observability import exporter
from litgo_pipelines.observability.exporter import Exporter, serving


@pytest.fixture
def port(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(exporter, "CONNECTIONS", 3)
    monkeypatch.setattr(exporter, "CONNECTION_SECONDS", 5.0)
    with serving(Exporter(database_url), "127.0.0.1", 0, 3600) as number:
        yield number


def status(port: int, host: str) -> int:
    return requests.get(f"http://127.0.0.1:{port}/metrics", headers={"Host": host}, timeout=10).status_code


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost:9108", 200),
        ("exporter:9108", 200),
        ("127.0.0.1", 200),
        ("10.1.2.3:9108", 200),
        ("[::1]:9108", 200),
        ("rebound.example", 403),
        ("localhost.example", 403),
        ("10.1.2.3.example", 403),
        ("", 403),
    ],
)
def test_a_name_that_was_rebound_reads_nothing(port: int, host: str, expected: int) -> None:
    assert status(port, host) == expected


def test_connections_that_say_nothing_are_few_and_end(port: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(3)]
    time.sleep(0.3)
    try:
        with pytest.raises(requests.ConnectionError):
            status(port, "localhost")
        started = time.monotonic()
        while True:  # until their time is over
            assert time.monotonic() - started < 20
            with suppress(requests.ConnectionError):
                assert status(port, "localhost") == 200
                break
            time.sleep(0.1)
    finally:
        for each in silent:
            each.close()


def test_a_request_that_drips_ends_with_its_time(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as dripping:
        started = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - started < 20:
                dripping.sendall(b"G")
                time.sleep(0.2)
    assert time.monotonic() - started < 12
    assert status(port, "localhost") == 200
