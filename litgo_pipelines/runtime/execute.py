"""One run of a job in this process, as the code location's own: Dagster's pages of the job list it.

    python -m litgo_pipelines.runtime.execute JOB LOG [TAGS as JSON]

For commands that start no daemon. What Dagster and the steps print goes to the file LOG, progress bars to the terminal.
"""

import json
import os
import sys

from litgo_pipelines.observability import progress
from litgo_pipelines.runtime.supervisor import DEFINITIONS, LOCATION


def main() -> None:
    job, log = sys.argv[1:3]
    tags = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    progress.show_on(os.fdopen(os.dup(2), "w"))
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)

    from litgo_pipelines.dagster_internals import execute

    sys.exit(not execute(job, tags, DEFINITIONS, LOCATION))


if __name__ == "__main__":
    main()
