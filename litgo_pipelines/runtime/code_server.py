"""Code server whose runs start warm: each is forked from a process that has already imported what runs need.

    python -m litgo_pipelines.runtime.code_server [arguments of `dagster api grpc`]

Dagster's own code server starts a fresh interpreter for each run, which pays seconds of imports before its first step.
The rest is Dagster's: events, logs, termination, and a process for each run, which takes nothing else with it when it
crashes. The warm process is forked from, never worked in. It ends with its server: a new version of the code or a
changed environment is a new server.

Who asks the server to end, `litgo up` or a container's engine, plans a stop: it is noted, so that what it ends is no
failure, and the runs are asked to end too, which an engine would only kill.
"""

import os
import signal
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from multiprocessing import context, forkserver, popen_forkserver, process
from pathlib import Path
from types import FrameType
from typing import ClassVar
from weakref import WeakSet

from litgo_pipelines.observability import stops
from litgo_pipelines.runtime import pulse

PRELOADED = "litgo_pipelines.runtime.preload"
LOST = 255  # the exit code of a process that the warm one can no longer tell of
LOOKS_EVERY = 0.2  # seconds
FORKS_WITHIN, IMPORTS_WITHIN = 15.0, 45.0  # seconds; the daemon waits a minute for the server's answer
THREADS = "16"  # three sensors nearly always hold one; Dagster's own number follows the processors, 6 on two


def began(pid: int) -> str | None:
    """When a living process began, in clock ticks; None for one that is gone, and on systems without /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *others = stat.rpartition(")")[2].split()
    return None if state in "ZX" else others[18]


def warm_process() -> int | None:
    """Its process id; None before it was first started."""
    pid: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return pid


def end_warm_process() -> None:
    if pid := warm_process():
        os.kill(pid, signal.SIGKILL)


class RunPopen(popen_forkserver.Popen):
    """A run's process, which goes on when the warm one, its parent, is killed: its number and start say so then."""

    started: ClassVar["WeakSet[RunPopen]"] = WeakSet()
    warm: ClassVar[int | None] = None  # the process that the newest run was forked from

    def _launch(self, process_obj: process.BaseProcess) -> None:
        """Raises EOFError where the warm process hangs: the run goes back to the queue, and has a new one then."""
        ready = self.warm is not None and self.warm == warm_process()
        limit = threading.Timer(FORKS_WITHIN if ready else IMPORTS_WITHIN, end_warm_process)
        limit.start()
        try:
            super()._launch(process_obj)  # type: ignore[misc]  # typeshed does not know it
        finally:
            limit.cancel()
        RunPopen.warm = warm_process()
        self.began = began(self.pid)
        self.started.add(self)

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


def stop(number: int, frame: FrameType | None) -> None:
    """As the handler of a signal: the stop is noted, the runs are asked to end, then the server ends."""
    signal.signal(number, signal.default_int_handler)
    stops.asked.set()
    if home := os.environ.get("LITGO_HOME"):
        with suppress(OSError):  # a full disk stops nobody
            stops.note(Path(home), datetime.now(UTC))
    for run in list(RunPopen.started):
        if run.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(run.pid, signal.SIGTERM)
    raise KeyboardInterrupt


def main() -> None:
    from litgo_pipelines.dagster_internals import serve_code

    pulse.begin()
    os.environ.setdefault("DAGSTER_GRPC_MAX_WORKERS", THREADS)
    signal.signal(signal.SIGINT, stop)  # Dagster's command gives SIGTERM the same handler

    forking = Forking()
    forking.set_forkserver_preload([PRELOADED])
    forkserver.ensure_running()  # it imports while the server does; killed, it is started again with the next run
    serve_code(forking)


if __name__ == "__main__":
    main()
