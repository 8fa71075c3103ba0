"""PgBouncer in front of the database: a session is served, a transaction's pool is refused in words."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from litgo_pipelines.database import DatabaseRefused, connect, in_transaction, open_connection, session_lock
from litgo_pipelines.resources.bounded import BriefDatabase
from litgo_pipelines_tests.worlds.pooler import PGBOUNCER, pooled

pytestmark = pytest.mark.one_server
Pooler = Callable[..., str]


@pytest.fixture
def pooler(database_url: str, tmp_path: Path) -> Iterator[Pooler]:
    """Start PgBouncer with a mode; gives the database's URL through it."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed: apt-get install pgbouncer")
    with ExitStack() as poolers:

        def start(mode: str, *lines: str) -> str:
            folder = tmp_path / uuid.uuid4().hex
            folder.mkdir()
            return poolers.enter_context(pooled(database_url, folder, mode, *lines))

        yield start


@pytest.mark.parametrize("lines", [(), ("ignore_startup_parameters = options",), ("default_pool_size = 1",)])
def test_a_transactions_pool_is_refused_in_words(pooler: Pooler, lines: tuple[str, ...]) -> None:
    with pytest.raises(DatabaseRefused, match="session mode"), connect(pooler("transaction", *lines)):
        pass


@pytest.mark.parametrize("lines", [(), ("ignore_startup_parameters = options, extra_float_digits",)])
def test_a_sessions_pool_serves(pooler: Pooler, lines: tuple[str, ...]) -> None:
    url = pooler("session", *lines)
    with closing(open_connection(url)) as connection:
        with session_lock(connection, "a lock"):
            assert in_transaction(connection, _settings) == ("pg_catalog, litgo_source, pg_temp", "UTC", "1h")
        with connection, connection.cursor() as cursor:
            cursor.execute("PREPARE answer AS SELECT 42")
        with connection, connection.cursor() as cursor:
            cursor.execute("EXECUTE answer")
            assert cursor.fetchone() == (42,)
    brief = BriefDatabase(url, seconds=2)
    assert brief.row("SELECT current_setting('statement_timeout'), current_setting('TimeZone')", None) == ("2s", "UTC")
    brief.close()


def test_a_pool_of_one_session_is_no_reason_to_wait_for_ever(pooler: Pooler) -> None:
    url = pooler("session", "default_pool_size = 1", "query_wait_timeout = 60")
    with connect(url) as connection, connection.cursor() as cursor:
        assert _settings(cursor)[1] == "UTC"


def test_another_database_than_asked_for_is_refused_by_name(pooler: Pooler, database_url: str) -> None:
    url = pooler("session").rpartition("/")[0]
    name = make_url(database_url).database
    bounced = pooler("session", "[databases]", f"marketplace = host={_host(database_url)} dbname={name}")
    with (
        pytest.raises(DatabaseRefused, match=f"{name}.*marketplace"),
        connect(bounced.rpartition("/")[0] + "/marketplace"),
    ):
        pass
    with connect(f"{url}/{name}"):
        pass


def test_a_role_that_a_pooler_ignores_is_refused_by_name(pooler: Pooler) -> None:
    url = pooler("session", "ignore_startup_parameters = options")
    with (
        pytest.raises(DatabaseRefused, match="pg_read_all_data"),
        connect(f"{url}?options=-c%20role%3Dpg_read_all_data"),
    ):
        pass


def _host(url: str) -> str:
    parsed = make_url(url)
    return f"{parsed.host or parsed.query['host']} port={parsed.port or 5432}"


def _settings(cursor: psycopg2.extensions.cursor) -> tuple[str, ...]:
    cursor.execute(
        "SELECT current_setting('search_path'), current_setting('TimeZone'), current_setting('statement_timeout')"
    )
    return cursor.fetchone() or ()
