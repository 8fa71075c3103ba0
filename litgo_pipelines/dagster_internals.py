"""Dagster's private modules: every import of them, as read in dagster 1.13.27.

They change without notice, so `pyproject.toml` caps the version; nothing else in the project imports `dagster._…`.
Imported late, by the functions that need them.
"""

from collections.abc import Callable, Iterable, Mapping
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any

from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.errors import DagsterLaunchFailedError, DagsterUserCodeUnreachableError
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.remote_representation.code_location import is_implicit_asset_job_name
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.schedules.schema import JobTickTable
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._grpc.types import GetCurrentRunsResult
from dagster._serdes import deserialize_value

if TYPE_CHECKING:
    from dagster import AssetKey, DagsterInstance, DagsterRun
    from dagster._core.storage.config import PostgresStorageConfig
    from dagster._serdes import ConfigurableClassData

__all__ = [
    "GRPC_INFO_TAG",
    "AssetCheckExecutionsTable",
    "CheckRunHealthResult",
    "ConfigurableClassData",
    "DagsterLaunchFailedError",
    "DagsterUserCodeUnreachableError",
    "GetCurrentRunsResult",
    "JobTickTable",
    "LaunchRunContext",
    "PostgresStorageConfig",
    "SqlEventLogStorage",
    "TickStatus",
    "UnresolvedAssetJobDefinition",
    "WorkerStatus",
    "WorkspaceProcessContext",
    "WorkspaceRequestContext",
    "as_viewer",
    "deserialize_value",
    "execute",
    "mark_launched",
    "retry_runs_with_patience",
    "run_daemon",
    "serve_code",
]


def run_daemon() -> None:
    """Dagster's daemon, as `dagster-daemon` starts it with this process's arguments."""
    from dagster._daemon.cli import main

    main()


def retry_runs_with_patience(attempts: Callable[[Callable[[], None]], None]) -> None:
    """The daemon's retries of failed runs are made by `attempts`, which is given one to try as often as it likes.

    Dagster tries once (`_daemon/auto_run_reexecution/auto_run_reexecution.py`) and gives the run up when that fails. To
    try again is safe: a retry that exists already is submitted, not made anew.
    """
    from dagster._daemon.auto_run_reexecution import auto_run_reexecution as retries

    once = retries.retry_run

    def patiently(failed_run: "DagsterRun", workspace_context: Any) -> None:
        attempts(
            lambda: once(workspace_context.instance.get_run_by_id(failed_run.run_id) or failed_run, workspace_context)
        )

    retries.retry_run = patiently


def serve_code(context: BaseContext) -> None:
    """Dagster's code server, as `dagster api grpc` starts it with this process's arguments; `context` starts the runs.

    Dagster's own context is "spawn" (`_grpc/server.py`, `DagsterApiServer.__init__`).
    """
    from dagster._cli.api import grpc_command
    from dagster._grpc import server

    class Server(server.DagsterApiServer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self._mp_ctx = context  # type: ignore[assignment]  # declared as the one it is made with

    server.DagsterApiServer = Server  # type: ignore[misc, assignment]  # the command reads it from there
    grpc_command()


def as_viewer(context: WorkspaceRequestContext) -> WorkspaceRequestContext:
    """The same request in Dagster's read-only mode: its pages show what is not allowed as that."""
    return WorkspaceRequestContext(
        instance=context.instance,
        current_workspace=context.get_current_workspace(),
        process_context=context.process_context,
        version=context.version,
        source=context.source,
        read_only=True,
    )


def mark_launched(
    instance: "DagsterInstance",
    marks: Callable[[], Mapping[str, str]],
    limits: Callable[[Iterable["AssetKey"], int], Mapping[str, str]],
) -> None:
    """Runs and backfills that this process stores carry the tags `marks` gives at that moment, whatever was sent.

    Below every way of launching: launchpad, re-execution, backfill, and a backfill that is resumed or run again. The
    daemon gives a backfill's tags to its runs. limits(assets, partitions): tags of what materialises assets outside of
    a job, where nobody gave others.
    """
    storage = instance.run_storage
    add_run, add_backfill, update_backfill = storage.add_run, storage.add_backfill, storage.update_backfill

    def run_added(run: "DagsterRun") -> "DagsterRun":
        implicit = is_implicit_asset_job_name(run.job_name)
        own = limits(run.asset_selection, 1) if implicit and run.asset_selection else {}
        return add_run(run.with_tags({**own, **run.tags, **marks()}))

    def marked(backfill: PartitionBackfill) -> PartitionBackfill:
        own: Mapping[str, str] = {}
        if backfill.asset_selection:
            data = backfill.asset_backfill_data
            own = limits(backfill.asset_selection, (data.get_num_partitions() if data else None) or 1)
        return backfill._replace(tags={**own, **(backfill.tags or {}), **marks()})

    def backfill_updated(backfill: PartitionBackfill) -> None:
        resumed = backfill.status == BulkActionStatus.REQUESTED
        update_backfill(marked(backfill) if resumed else backfill)

    for name, method in (
        ("add_run", run_added),
        ("add_backfill", lambda backfill: add_backfill(marked(backfill))),
        ("update_backfill", backfill_updated),
    ):
        setattr(storage, name, method)


def execute(instance: "DagsterInstance", job: str, tags: Mapping[str, str], module: str, location: str) -> str:
    """One run of a job in this process, with the origin a run has that the webserver launches; returns its id.

    `dagster job execute` stores no such origin, and then the job's page in the UI does not list the run.
    """
    from dagster._core.definitions.reconstruct import ReconstructableRepository
    from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
    from dagster._core.execution.api import execute_run
    from dagster._core.remote_origin import (
        ManagedGrpcPythonEnvCodeLocationOrigin,
        RemoteJobOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    reconstructable = ReconstructableRepository.for_module(module, "defs").get_reconstructable_job(job)
    target = LoadableTargetOrigin(module_name=module)
    place = ManagedGrpcPythonEnvCodeLocationOrigin(target, location)
    run = instance.create_run_for_job(
        reconstructable.get_definition(),
        tags=tags,
        job_code_origin=reconstructable.get_python_origin(),
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(place, SINGLETON_REPOSITORY_NAME), job),
    )
    execute_run(reconstructable, run, instance)
    return run.run_id
