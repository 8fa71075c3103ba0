"""Code server whose runs start warm: each is forked from a process that has already imported what runs need.

    python -m litgo_pipelines.runtime.code_server [arguments of `dagster api grpc`]

Dagster's own code server starts a fresh interpreter for each run, which pays seconds of imports before its first step.
The rest is Dagster's: events, logs, termination, and a process for each run, which takes nothing else with it when it
crashes. The warm process is forked from, never worked in. It ends with its server: a new version of the code or a
changed environment is a new server.
"""

import os
import time
from multiprocessing import context, forkserver, popen_forkserver, process
from pathlib import Path

PRELOADED = "litgo_pipelines.runtime.preload"
LOST = 255  # the exit code of a process that the warm one can no longer tell of
LOOKS_EVERY = 0.2  # seconds


def began(pid: int) -> str | None:
    """When a living process began, in clock ticks; None for one that is gone, and on systems without /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *others = stat.rpartition(")")[2].split()
    return None if state in "ZX" else others[18]


class RunPopen(popen_forkserver.Popen):
    """A run's process, which goes on when the warm one, its parent, is killed: its number and start say so then."""

    def _launch(self, process_obj: process.BaseProcess) -> None:
        super()._launch(process_obj)  # type: ignore[misc]  # typeshed does not know it
        self.began = began(self.pid)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Its exit code; None while it runs, also without a parent who could tell."""
        while (code := super().poll(flag)) == LOST and self.began is not None and began(self.pid) == self.began:
            self.returncode = None
            if flag == os.WNOHANG:
                return None
            time.sleep(LOOKS_EVERY)
        return code


class RunProcess(context.ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> RunPopen:
        return RunPopen(process_obj)


class Forking(context.ForkServerContext):
    """Starts runs by forking the warm process."""

    Process = RunProcess


def main() -> None:
    from litgo_pipelines.dagster_internals import serve_code

    forking = Forking()
    forking.set_forkserver_preload([PRELOADED])
    forkserver.ensure_running()  # it imports while the server does; killed, it is started again with the next run
    serve_code(forking)


if __name__ == "__main__":
    main()
