"""Dagster's storage keeps its connections: they are shared, found lost before they are used, and not inherited."""

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from sqlalchemy import event, text
from sqlalchemy.engine import Engine

from litgo_pipelines.database import connect
from litgo_pipelines.runtime import storage

CONFIG = {
    "module": "litgo_pipelines.runtime.storage",
    "class": "PooledPostgresStorage",
    "config": {"postgres_url": {"env": "DAGSTER_DATABASE_URL"}},
}


@pytest.fixture
def home(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DAGSTER_DATABASE_URL", database_url)
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"storage": {"custom": CONFIG}}))
    yield tmp_path
    storage._engine(database_url, os.getpid()).dispose()


def session(instance: dg.DagsterInstance) -> int:
    """Number of the server's process that answers; others of the same database may be seen coming and going."""
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]  # of the storages in SQL
        return connection.execute(text("SELECT pg_backend_pid()")).scalar_one()


def test_instances_of_a_process_share_a_connection_that_stays_open(home: Path) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        first = session(instance)
    opened = []
    event.listen(Engine, "do_connect", watch := lambda *_: opened.append(1))  # None: SQLAlchemy connects as always
    try:
        for _ in range(3):
            with dg.DagsterInstance.from_config(str(home)) as instance:
                for _ in range(5):
                    assert instance.get_runs_count() == 0
                    assert list(instance.all_instigator_state()) == []
                    assert instance.all_asset_keys() == []
                assert session(instance) == first
    finally:
        event.remove(Engine, "do_connect", watch)
    assert opened == []


def test_the_catalog_is_asked_once_whether_the_tables_are_there(home: Path) -> None:
    asked: list[str] = []

    def watch(connection: object, cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    def work(instance: dg.DagsterInstance) -> None:
        assert list(instance.all_instigator_state()) == []
        assert instance.get_instigator_state("origin", "selector") is None
        assert instance.get_ticks("origin", "selector") == []
        assert instance.get_backfills() == []
        assert instance.get_asset_records() == []
        assert instance.event_log_storage.supports_asset_checks

    event.listen(Engine, "before_cursor_execute", watch)
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            work(instance)
            assert [statement for statement in asked if "pg_catalog" in statement or "secondary_indexes" in statement]
            asked.clear()
            work(instance)
        with dg.DagsterInstance.from_config(str(home)) as instance:
            work(instance)
    finally:
        event.remove(Engine, "before_cursor_execute", watch)
    assert asked
    assert not [statement for statement in asked if "pg_catalog" in statement or "secondary_indexes" in statement]


def test_a_connection_that_was_lost_is_replaced_before_it_is_used(home: Path, database_url: str) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        lost = session(instance)
        with connect(database_url) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (lost,))
        assert instance.get_runs_count() == 0
        assert session(instance) != lost


def test_a_forked_process_has_connections_of_its_own(home: Path) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        inherited = session(instance)
        child = os.fork()
        if not child:
            try:
                with dg.DagsterInstance.from_config(str(home)) as own:
                    shared = own.get_runs_count() or session(own) == inherited
                os._exit(int(shared))
            finally:
                os._exit(2)  # whatever is raised: a child that goes on would run the other tests
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert session(instance) == inherited
