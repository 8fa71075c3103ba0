"""One small simulated marketplace, loaded once for all tests that only read it."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from litgo_pipelines.database import normalise
from litgo_pipelines.simulation.load import simulate
from litgo_pipelines_tests.support import execute

END = datetime(2026, 6, 30, 5, 0, tzinfo=UTC)  # a Tuesday, 02:00 in São Paulo
SMALL: dict[str, Any] = {"seed": 7, "lawyers": 400, "cases": 3000, "days": 84, "end": END, "progress": False}


@pytest.fixture(scope="session")
def simulated_url(postgres_server_url: str, migrated_template: str) -> Iterator[str]:
    name = f"litgo_simulated_{uuid.uuid4().hex[:12]}"
    execute(postgres_server_url, f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    url = normalise(postgres_server_url, database=name)
    simulate(url, **SMALL)
    yield url
    execute(postgres_server_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
