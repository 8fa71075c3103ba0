"""A service under the policy against the fault server."""

import os
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from litgo_pipelines.database import libpq
from litgo_pipelines.resources.external_service import ExternalService


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is reached directly, whatever the machine's proxy."""
    monkeypatch.setenv("NO_PROXY", ",".join(filter(None, ["127.0.0.1", os.environ.get("NO_PROXY")])))


def let_pause_pass(database_url: str) -> None:
    """Instead of waiting: a pause, or a probe's lease, has come to its end."""
    with closing(psycopg2.connect(libpq(database_url))) as connection, connection, connection.cursor() as cursor:
        cursor.execute("UPDATE litgo.circuit_breakers SET retry_at = clock_timestamp() WHERE opened_at IS NOT NULL")
        assert cursor.rowcount == 1


class Log:
    """The JSON lines a service wrote."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def service() -> Callable[..., ExternalService]:
    """A service with little backoff; a factory, so that each test says what it is about."""

    def make(database_url: str | None = None, **fields: Any) -> ExternalService:
        times = {"timeout_seconds": 10.0, "deadline_seconds": 20.0, "backoff_seconds": 0.01}
        return ExternalService("openai", database_url=database_url, **{**times, "log": Log(), **fields})

    return make
