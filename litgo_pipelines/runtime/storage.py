"""Dagster's storage in Postgres with connections that stay open.

Dagster opens a connection for each of its statements: fifty a second when nothing is at work, most of what the idle
system takes. Here a process keeps a few and shares them among its storages and instances; more are opened where many
threads ask at once, and closed when they are given back. It also asks the server's catalog with each operation whether
the tables have the form of its version, twenty times a second: what was there once is asked for no more.
"""

import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_engine, pg_url_from_config

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines.dagster_internals import ConfigurableClassData, PostgresStorageConfig

KEPT = 5  # connections per process
RENEWED_AFTER = 900  # seconds
FORM = (  # Dagster's questions to the catalog; of those that a version does not have, nothing follows
    *("_has_asset_daemon_asset_evaluations_table", "_has_asset_key_col_on_connection", "_has_instigators_table"),
    *("has_asset_key_col", "has_backfill_id_column", "has_backfill_tags_table", "has_built_index"),
    *("has_bulk_action_job_name_column", "has_bulk_actions_selector_cols", "has_instigators_table"),
    *("has_run_stats_index_cols", "has_secondary_index", "has_table"),
)
_looked_at: set[tuple[int, str]] = set()  # process and URL
_there: set[tuple[object, ...]] = set()  # process, URL, question and the names in it


class PooledPostgresStorage(DagsterPostgresStorage):
    """As Dagster's own; a connection that was lost meanwhile is noticed before it is used."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: "ConfigurableClassData | None" = None,
    ) -> None:
        # Each part looks over a connection of its own whether its tables are there: once a process is enough.
        place = os.getpid(), postgres_url
        super().__init__(postgres_url, should_autocreate_tables and place not in _looked_at, inst_data)
        _looked_at.add(place)
        for part in (self._run_storage, self._event_log_storage, self._schedule_storage):
            part._engine = _engine(postgres_url, os.getpid())
            for question in FORM:
                if ask := getattr(part, question, None):
                    setattr(part, question, _asked_until_it_is_there(ask, (*place, question)))

    @classmethod
    def from_config_value(  # type: ignore[override]  # as in Dagster's own
        cls, inst_data: "ConfigurableClassData | None", config_value: "PostgresStorageConfig"
    ) -> "PooledPostgresStorage":
        return cls(
            pg_url_from_config(config_value), bool(config_value.get("should_autocreate_tables", True)), inst_data
        )


def _asked_until_it_is_there(ask: Callable[..., bool], about: tuple[object, ...]) -> Callable[..., bool]:
    def remembered(*arguments: object) -> bool:
        key = (*about, *(each for each in arguments if isinstance(each, str)))
        if key not in _there and ask(*arguments):
            _there.add(key)
        return key in _there

    return remembered


@cache
def _engine(url: str, process: int) -> "Engine":
    """One for all of a process; a forked one has its own."""
    return create_pg_engine(
        url,
        None,
        isolation_level="AUTOCOMMIT",
        pool_size=KEPT,
        max_overflow=-1,
        pool_pre_ping=True,
        pool_recycle=RENEWED_AFTER,
    )
