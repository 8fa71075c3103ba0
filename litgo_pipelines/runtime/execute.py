"""One run of a job in this process, as the code location's own: Dagster's pages of the job list it.

    python -m litgo_pipelines.runtime.execute JOB LOG [TAGS as JSON]

For commands that start no daemon. What Dagster and the steps print goes to the file LOG, progress bars and why the run
failed to the terminal.
"""

import json
import os
import sys
from typing import TYPE_CHECKING

from litgo_pipelines.observability import progress
from litgo_pipelines.runtime.supervisor import DEFINITIONS, LOCATION

if TYPE_CHECKING:
    from dagster import DagsterInstance


def main() -> None:
    job, log = sys.argv[1:3]
    tags = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    terminal = os.fdopen(os.dup(2), "w")
    progress.show_on(terminal)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)

    from dagster import DagsterInstance

    from litgo_pipelines.dagster_internals import execute

    with DagsterInstance.get() as instance:
        reasons = why_failed(instance, execute(instance, job, tags, DEFINITIONS, LOCATION))
    for reason in reasons:
        print(reason, file=terminal, flush=True)
    sys.exit(bool(reasons))


def why_failed(instance: "DagsterInstance", run_id: str) -> list[str]:
    """What the checks and steps that made a run fail said, a line each; none of a run that went well."""
    from dagster import AssetCheckSeverity, DagsterEventType, DagsterRunStatus

    ended = instance.get_run_by_id(run_id)
    if ended is not None and ended.status == DagsterRunStatus.SUCCESS:
        return []
    said = []
    for entry in instance.all_logs(run_id, {DagsterEventType.ASSET_CHECK_EVALUATION, DagsterEventType.STEP_FAILURE}):
        event = entry.get_dagster_event()
        if event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed and check.severity == AssetCheckSeverity.ERROR:
                said.append(f"{check.check_name}: {check.description}")
        elif (error := event.step_failure_data.error) and "AssetCheckFailed" not in error.message:
            said.append(f"{event.step_key}: {error.message.strip().splitlines()[-1]}")
    return said or ["it did not end well"]


if __name__ == "__main__":
    main()
