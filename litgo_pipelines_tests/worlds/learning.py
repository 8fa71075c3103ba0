"""A marketplace of hand-written rows: what the rules of the snapshot are tried on, one situation at a time."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from litgo_pipelines.models.features import FEATURES
from litgo_pipelines_tests.support import free_port
from litgo_pipelines_tests.worlds.sessions import kept

AS_OF = datetime(2026, 6, 1, tzinfo=UTC)
SENT = AS_OF - timedelta(days=40)
HOUR = timedelta(hours=1)


class Marketplace:
    """Inserts rows and returns their ids. Defaults: an offer sent 40 days before AS_OF, features logged just before."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = self.insert("profiles", full_name="C")
        self.default_lawyer = self.lawyer()

    def execute(self, statement: str, parameters: Any = None) -> list[Any]:
        with kept(self.url) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def insert(self, table: str, **values: Any) -> str:
        names = ", ".join(values)
        places = ", ".join(f"%({name})s" for name in values)
        return str(self.execute(f"INSERT INTO public.{table} ({names}) VALUES ({places}) RETURNING id", values)[0][0])

    def lawyer(self, created_at: datetime = AS_OF - timedelta(days=500)) -> str:
        return self.insert("lawyers", name="A", created_at=created_at)

    def case(self, created_at: datetime = SENT - HOUR, area: str | None = "Civil", coords: str | None = None) -> str:
        return self.insert("cases", client_id=self.client, created_at=created_at, area=area, coords=coords)

    def offer(
        self,
        status: str = "expired",
        *,
        case: str | None = None,
        lawyer: str | None = None,
        sent_at: datetime = SENT,
        responded_at: datetime | None = None,
        expires_at: datetime | None = None,
        raw_score: float = 0.5,
        features: Any = None,
        logged_at: datetime | None = None,
        match: bool = True,
    ) -> tuple[str, str]:
        """(case, lawyer); a new case and the one lawyer unless given."""
        case, lawyer = case or self.case(), lawyer or self.default_lawyer
        self.insert(
            "offers",
            case_id=case,
            lawyer_id=lawyer,
            status=status,
            sent_at=sent_at,
            responded_at=responded_at,
            expires_at=expires_at or sent_at + 24 * HOUR,
            raw_score=raw_score,
        )
        if match:
            self.execute(
                "INSERT INTO case_matches (case_id, lawyer_id, features, created_at) VALUES (%s, %s, %s, %s)",
                (
                    case,
                    lawyer,
                    json.dumps(features if features is not None else dict.fromkeys(FEATURES, 0.5)),
                    logged_at or sent_at - HOUR,
                ),
            )
        return case, lawyer

    def contract(self, pair: tuple[str, str], status: str = "active", **values: Any) -> str:
        signed = {"signed_client": SENT + 30 * HOUR, "signed_lawyer": SENT + 31 * HOUR, "created_at": SENT + 29 * HOUR}
        return self.insert(
            "contracts", case_id=pair[0], lawyer_id=pair[1], client_id=self.client, status=status, **(signed | values)
        )

    def review(self, contract: str, rating: int = 5, outcome: str | None = None, **values: Any) -> str:
        return self.insert(
            "reviews",
            **{
                "contract_id": contract,
                "lawyer_id": self.default_lawyer,
                "client_id": self.client,
                "rating": rating,
                "outcome": outcome,
                "created_at": SENT + timedelta(days=20),
            }
            | values,
        )


@pytest.fixture
def market(database_url: str) -> Marketplace:
    return Marketplace(database_url)


# Preferences a ranker can find: U and R decide, the logged score knows nothing of them.
LEARNABLE = """
CREATE TEMP TABLE drawn ON COMMIT DROP AS
SELECT c.id AS case_id, l.id AS lawyer_id, c.created_at + interval '1 hour' AS sent_at,
       random() AS a, random() AS s, random() AS t, random() AS g, random() AS q, random() AS u, random() AS r,
       random() AS soft, random() AS noise
FROM cases AS c CROSS JOIN lawyers AS l;
INSERT INTO case_matches (case_id, lawyer_id, features, created_at)
SELECT case_id, lawyer_id,
       jsonb_build_object('A', a, 'S', s, 'T', t, 'G', g, 'Q', q, 'U', u, 'R', r, 'C', soft), sent_at FROM drawn;
INSERT INTO offers (case_id, lawyer_id, status, sent_at, responded_at, expires_at, raw_score)
SELECT case_id, lawyer_id, CASE WHEN u + r + noise / 2 > 1.3 THEN 'interested' ELSE 'declined' END, sent_at,
       sent_at + interval '2 hours', sent_at + interval '24 hours', .3 * a + .25 * s FROM drawn;
INSERT INTO contracts (case_id, lawyer_id, client_id, status, signed_client, signed_lawyer, created_at)
SELECT DISTINCT ON (d.case_id) d.case_id, d.lawyer_id, (SELECT min(id::text)::uuid FROM profiles), 'closed',
       d.sent_at + interval '1 day', d.sent_at + interval '1 day', d.sent_at + interval '1 day'
FROM drawn AS d WHERE u + r + noise / 2 > 1.3 ORDER BY d.case_id, u + r DESC;
INSERT INTO public.reviews (contract_id, lawyer_id, client_id, rating, outcome, created_at)
SELECT id, lawyer_id, client_id, 5, 'won', created_at + interval '5 days' FROM contracts;
"""


@pytest.fixture
def learnable_market(market: Marketplace) -> Marketplace:
    """400 cases, each offered to the same 6 lawyers."""
    for _ in range(5):
        market.lawyer()
    market.execute(
        "SELECT setseed(.5); INSERT INTO cases (client_id, area, coords, created_at) "
        "SELECT %s, (ARRAY['Civil', 'Penal'])[1 + n %% 2], point(-46.6, -23.5), %s + n * interval '4 hours' "
        "FROM generate_series(1, 400) AS n",
        (market.client, AS_OF - timedelta(days=120)),
    )
    market.execute("SELECT setseed(.5);" + LEARNABLE)
    return market


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real MLflow server on a free loopback port, on its own sqlite store."""
    folder: Path = tmp_path_factory.mktemp("mlflow")
    url = f"http://127.0.0.1:{free_port()}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"),
                *("--port", url.rsplit(":", 1)[1], "--backend-store-uri", f"sqlite:///{folder / 'store.db'}"),
                *("--artifacts-destination", str(folder / "artifacts")),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 240
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            try:
                if requests.get(f"{url}/health", timeout=2).ok:
                    break
            except requests.RequestException:
                time.sleep(0.3)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


@pytest.fixture
def fresh_id() -> str:
    return uuid.uuid4().hex[:8]
