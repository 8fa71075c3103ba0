"""Dagster's storage keeps its connections: they are shared, found lost before they are used, and not inherited."""

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from sqlalchemy import event
from sqlalchemy.engine import Engine

from litgo_pipelines.database import connect
from litgo_pipelines.runtime import storage

CONFIG = {
    "module": "litgo_pipelines.runtime.storage",
    "class": "PooledPostgresStorage",
    "config": {"postgres_url": {"env": "DAGSTER_DATABASE_URL"}},
}
OTHERS = (
    "SELECT pid FROM pg_catalog.pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND backend_type = 'client backend'"
)


@pytest.fixture
def home(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DAGSTER_DATABASE_URL", database_url)
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"storage": {"custom": CONFIG}}))
    yield tmp_path
    storage._engine(database_url, os.getpid()).dispose()


def sessions(url: str) -> set[int]:
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(OTHERS)
        return {pid for (pid,) in cursor.fetchall()}


def test_instances_of_a_process_share_connections_that_stay_open(home: Path, database_url: str) -> None:
    found = []
    for _ in range(3):
        with dg.DagsterInstance.from_config(str(home)) as instance:
            for _ in range(5):
                assert instance.get_runs_count() == 0
                assert list(instance.all_instigator_state()) == []
                assert instance.all_asset_keys() == []
        found.append(sessions(database_url))
    assert len(found[2]) == 1
    assert found[2] == found[1] <= found[0]  # who made the database may be seen going at first


def test_a_further_instance_opens_no_connection(home: Path) -> None:
    opened = []
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_runs_count() == 0
    event.listen(Engine, "do_connect", watch := lambda *_: opened.append(1))  # None: SQLAlchemy connects as always
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            assert instance.get_runs_count() == 0
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
        assert instance.get_runs_count() == 0
        lost = sessions(database_url)
        with connect(database_url) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", (list(lost),))
        assert instance.get_runs_count() == 0
        assert sessions(database_url).isdisjoint(lost)


def test_a_forked_process_has_connections_of_its_own(home: Path, database_url: str) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_runs_count() == 0
        child = os.fork()
        if not child:
            with dg.DagsterInstance.from_config(str(home)) as own:
                os._exit(own.get_runs_count() or len(sessions(database_url)) - 2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert instance.get_runs_count() == 0
