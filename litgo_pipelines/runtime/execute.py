"""One run of a job in this process, as the code location's own: Dagster's pages of the job list it.

    python -m litgo_pipelines.runtime.execute JOB LOG [TAGS as JSON]

For commands that start no daemon. What Dagster and the steps print goes to the file LOG, progress bars and why the run
failed to the terminal.
"""

import json
import os
import sys

from litgo_pipelines.observability import progress
from litgo_pipelines.runtime.supervisor import DEFINITIONS, LOCATION


def main() -> None:
    job, log = sys.argv[1:3]
    tags = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    terminal = os.fdopen(os.dup(2), "w")
    progress.show_on(terminal)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)

    from litgo_pipelines.dagster_internals import execute

    reasons = execute(job, tags, DEFINITIONS, LOCATION)
    for reason in reasons:
        print(reason, file=terminal, flush=True)
    sys.exit(bool(reasons))


if __name__ == "__main__":
    main()
