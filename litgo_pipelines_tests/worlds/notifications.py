"""A marketplace with messages to deliver, both providers on loopback, and a clock that goes when it is told to."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from litgo_pipelines.database import Connection
from litgo_pipelines.notifications.delivery import Deliverer
from litgo_pipelines.notifications.outbox import Kind, Message, put
from litgo_pipelines.resources.onesignal import OneSignal
from litgo_pipelines.resources.sendgrid import SendGrid
from litgo_pipelines.simulation import faults
from litgo_pipelines.simulation.faults import FaultServer
from litgo_pipelines_tests.worlds.rows import Marketplace
from litgo_pipelines_tests.worlds.sessions import kept

START = datetime(2026, 3, 10, 12, tzinfo=UTC)
PUSHED = faults.json_answer({"id": "b98881cc-1e94-4366-bbd9-db8f3429292b"})
MAILED = faults.answer(b"", 202, X_Message_Id="mail-1")
KEYS = {"ONESIGNAL_API_KEY": "secret-push-key", "SENDGRID_API_KEY": "secret-mail-key"}


def subscription(name: str) -> str:
    """A push token as OneSignal has them."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", ",".join(filter(None, ["127.0.0.1", os.environ.get("NO_PROXY")])))


@dataclass
class World:
    """The database, the two providers' servers, and what a person could do with them."""

    url: str
    push: FaultServer
    mail: FaultServer
    now: datetime = START
    waits: list[float] = field(default_factory=list)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A transaction."""
        with kept(self.url) as connection, connection:
            yield connection

    def ask(self, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []

    def person(self, *, token: str | None = "token", email: str | None = "ana@example.com") -> str:
        """A lawyer with a profile of the same id."""
        with self._connected() as connection:
            market = Marketplace(connection, START)
            person = market.lawyer()
            known = subscription(token if token != "token" else person) if token and token.strip() else token
            return market._insert("profiles", id=person, full_name="Ana Souza", push_token=known, email=email)

    def offer(self, person: str, **values: Any) -> int:
        with self._connected() as connection:
            market = Marketplace(connection, START)
            case = market.case(area="Família", subarea="Guarda", complexity="HIGH")
            sent = values.pop("sent_at", START - timedelta(seconds=30))
            offer = market.offer(case, person, sent_at=sent, **values)
        expires_at = (values.get("expires_at") or sent + timedelta(hours=24)).isoformat()
        return self.put("offer", person, {"offer_id": offer, "case_id": case, "expires_at": expires_at}, sent)

    def contract(self, *, pdf: bytes | None = b"%PDF-1.7 contract") -> str:
        with self._connected() as connection, connection.cursor() as cursor:
            market = Marketplace(connection, START)
            contract = market.contract(market.case(), market.lawyer(), status="pending-signature")
            if pdf:
                cursor.execute(
                    "INSERT INTO litgo.contract_requests (contract_id, transaction_id, status, method, reason, "
                    "requested_at, due_at) VALUES (%s, %s, 'manual', 'manual', 'test', %s, %s)",
                    (contract, str(uuid.uuid4()), START, START + timedelta(days=7)),
                )
                cursor.execute(
                    "INSERT INTO litgo.contract_documents (contract_id, pdf, sha256, created_at) "
                    "VALUES (%s, %s, encode(sha256(%s), 'hex'), %s)",
                    (contract, pdf, pdf, START),
                )
            return contract

    def manual(self, person: str, contract: str) -> int:
        due_at = (START + timedelta(days=7)).isoformat()
        return self.put("contract_manual", person, {"contract_id": contract, "due_at": due_at})

    def put(self, kind: Kind, person: str, payload: dict[str, Any], created_at: datetime | None = None) -> int:
        key = str(uuid.uuid4())
        with self._connected() as connection, connection.cursor() as cursor:
            put(cursor, [Message(kind, person, key, payload)], created_at or self.now)
            cursor.execute("SELECT message_id FROM litgo.outbox WHERE dedup_key = %s", (key,))
            (message,) = cursor.fetchone() or (0,)
            return int(message)

    def deliver(self, *, later: timedelta = timedelta(), staying: bool = False, **fields: Any) -> Deliverer:
        """One run `later`; only `staying` it waits for the next attempts, which takes no real time."""
        self.now += later

        def pause(seconds: float) -> None:
            self.waits.append(seconds)
            self.now += timedelta(seconds=seconds)

        options: dict[str, Any] = {"team_email": "equipe@example.com", **fields}
        limits = {"timeout_seconds": options.pop("timeout", 5.0), "deadline_seconds": 10.0, "database_url": self.url}
        onesignal = OneSignal(
            app_id=options.pop("app_id", "app"),
            base_url=self.push.url,
            **limits,
            fallback_enabled=options.pop("fallback_enabled", True),
        )
        sendgrid = SendGrid(base_url=self.mail.url, **limits)
        with kept(self.url) as connection:
            deliverer = Deliverer(
                connection, onesignal, sendgrid, clock=lambda: self.now, pause=pause if staying else time_out, **options
            )
            with suppress(StopWaiting):
                deliverer.run()
            return deliverer

    def statuses(self) -> list[str]:
        return [status for (status,) in self.ask("SELECT status FROM litgo.outbox ORDER BY message_id")]

    def metric(self, name: str, **labels: str) -> float:
        query = "SELECT coalesce(sum(value), 0) FROM litgo.metric_state WHERE name = %s AND labels @> %s::jsonb"
        return self.ask(query, (name, json.dumps(labels)))[0][0]

    def let_leases_pass(self) -> int:
        """Instead of waiting: what a killed process held is free."""
        freed = "UPDATE litgo.deliveries SET lease_until = clock_timestamp() WHERE lease_until IS NOT NULL RETURNING 1"
        return len(self.ask(freed))


class StopWaiting(Exception):
    """The run would have waited for its next attempt."""


def time_out(seconds: float) -> None:
    raise StopWaiting


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with FaultServer(PUSHED) as push, FaultServer(MAILED) as mail:
        yield World(database_url, push, mail)
