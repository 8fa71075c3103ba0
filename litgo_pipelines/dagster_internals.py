"""Dagster's private modules: every import of them, as read in dagster 1.13.27.

They change without notice, so `pyproject.toml` caps the version; nothing else in the project imports `dagster._…`.
Imported late, by the functions that need them.
"""

from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.schedules.schema import JobTickTable
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.types import GetCurrentRunsResult
from dagster._serdes import deserialize_value

__all__ = [
    "GRPC_INFO_TAG",
    "AssetCheckExecutionsTable",
    "CheckRunHealthResult",
    "DagsterUserCodeUnreachableError",
    "GetCurrentRunsResult",
    "JobTickTable",
    "SqlEventLogStorage",
    "TickStatus",
    "WorkerStatus",
    "deserialize_value",
    "run_daemon",
]


def run_daemon() -> None:
    """Dagster's daemon, as `dagster-daemon` starts it with this process's arguments."""
    from dagster._daemon.cli import main

    main()
