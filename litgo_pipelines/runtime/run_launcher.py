"""Run launcher with a liveness check of the run's process, which `run_monitoring` asks for in dagster.yaml.

Without that, a run whose process went together with its code server, in a crash of the machine or a restart, stays
STARTED until its maximum, and its job and pool wait for it. Nothing is said of a run when nobody can know.
"""

import json
from pathlib import Path

import dagster as dg
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import DBAPIError

from litgo_pipelines.dagster_internals import (
    GRPC_INFO_TAG,
    CheckRunHealthResult,
    DagsterLaunchFailedError,
    DagsterUserCodeUnreachableError,
    GetCurrentRunsResult,
    LaunchRunContext,
    WorkerStatus,
    deserialize_value,
)

_STARTED = "Started process for run"
_FIRST = 20  # events of the engine, among which the run's process says its number
_ALIVE = CheckRunHealthResult(WorkerStatus.RUNNING)


class CheckedRunLauncher(dg.DefaultRunLauncher):
    """As its base, with a health check: by process number on this machine, by the code server's word elsewhere."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def launch_run(self, context: LaunchRunContext) -> None:
        """A run that could not begin goes back to the queue, which tries again later, as often as dagster.yaml says.

        Its process fails before it is one of the run's only where the storage gives it no connection.
        """
        try:
            super().launch_run(context)
        except (DagsterLaunchFailedError, DagsterPostgresException, DBAPIError) as error:
            raise DagsterUserCodeUnreachableError(f"the run could not begin: {type(error).__name__}") from error

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """NOT_FOUND only when it is certain that nothing works at the run any more, else RUNNING."""
        server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
        if server.get("socket"):  # of this machine; its child may outlive it
            pid = self.process(run.run_id)
            if pid is not None and not lives(pid):
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"process {pid} is gone")
        elif server and self._unknown_to_server(run.run_id):
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its code server was started anew")
        return _ALIVE

    def process(self, run_id: str) -> int | None:
        """The number that the run's process gave when it began; None before that."""
        events = self._instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT, limit=_FIRST)
        for record in events.records:
            event = record.event_log_entry.dagster_event
            if event and (event.message or "").startswith(_STARTED):
                return int(str(event.engine_event_data.metadata["pid"].value))
        return None

    def _unknown_to_server(self, run_id: str) -> bool:
        """False also while the server does not answer: once it is back it says that it has no such run."""
        client = self._get_grpc_client_for_termination(run_id)
        if client is None:
            return False
        try:
            answer = deserialize_value(client.get_current_runs(), GetCurrentRunsResult)
        except DagsterUserCodeUnreachableError:
            return False
        return run_id not in answer.current_runs


def lives(pid: int) -> bool:
    """Whether a Python process has this number; True on systems without /proc, where that cannot be seen."""
    processes = Path("/proc")
    if not (processes / "self").exists():
        return True
    try:
        return b"python" in (processes / str(pid) / "cmdline").read_bytes()  # a zombie's is empty
    except (FileNotFoundError, ProcessLookupError):
        return False
