"""Processes to be killed, forked from one that has imported everything: no test waits for an interpreter to start.

One such process per test process, begun with the first child. It runs nothing itself, so that a child starts as a fresh
interpreter would: without threads, connections and caches of the test.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import dagster as dg

from litgo_pipelines.database import connect

IMPORTED = [
    "litgo_pipelines.definitions",
    "litgo_pipelines.cli",
    "litgo_pipelines_tests.worlds.rows",
    "pyarrow",
    "psycopg2.extras",
    "tqdm",
]
HEAVY = ["lightgbm", "mlflow", "sklearn", "matplotlib.pyplot", "pandas"]  # where the tests so far needed it
PATIENCE = 300.0  # seconds; a busy machine is no failure, a process that hangs is


class Child:
    """`function(*arguments)` in a process of its own, with the environment and folder of this moment.

    `function`: of a module's top level. It ends as a script does: code 0, 1 after an exception, -9 when killed.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        handle, name = tempfile.mkstemp(prefix="litgo-child-")
        os.close(handle)
        self._output = Path(name)
        weakref.finalize(self, partial(self._output.unlink, missing_ok=True))
        self._process = _context().Process(
            target=_run, args=(dict(os.environ), os.getcwd(), name, function, arguments), daemon=True
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def alive(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code."""
        self._process.join(seconds)
        code = self._process.exitcode
        assert code is not None, f"still running after {seconds:g} s: {self.output()}"
        return code

    def output(self) -> str:
        """The end of what it wrote, with its exception."""
        return self._output.read_text(errors="replace")[-3000:]


def killed(function: Callable[..., Any], *arguments: Any) -> None:
    """Wait for a process that kills itself on the way."""
    child = Child(function, *arguments)
    assert child.wait() == -signal.SIGKILL, child.output()


def litgo(*arguments: str, environment: Mapping[str, str] = os.environ) -> subprocess.CompletedProcess[str]:
    """The `litgo` command with this environment, as a shell would run it."""
    with tempfile.TemporaryDirectory(prefix="litgo-command-") as folder:
        said = (os.path.join(folder, "stdout"), os.path.join(folder, "stderr"))
        child = Child(_command, dict(environment), arguments, *said)
        code = child.wait()
        stdout, stderr = (Path(name).read_text(errors="replace") for name in said)
    return subprocess.CompletedProcess(["litgo", *arguments], code, stdout, stderr)


def _command(environment: dict[str, str], arguments: tuple[str, ...], stdout: str, stderr: str) -> None:
    from litgo_pipelines.cli import main

    os.environ.clear()
    os.environ.update(environment)
    for stream, name in ((sys.stdout, stdout), (sys.stderr, stderr)):
        with open(name, "wb") as file:
            os.dup2(file.fileno(), stream.fileno())
    sys.argv = ["litgo", *arguments]
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def kill_self(*_: Any, **__: Any) -> None:
    """Instead of a function before which a process is to die."""
    os.kill(os.getpid(), signal.SIGKILL)


def stalled_in(url: str, child: Child) -> int:
    """The server process in which a trigger's pg_sleep holds the child, as soon as it is there."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
            )
            if found := cursor.fetchone():
                return int(found[0])
        assert child.alive(), f"ended before the statement it was to stop in: {child.output()}"
        assert time.monotonic() < deadline, f"never reached its statement: {child.output()}"
        time.sleep(0.1)


def retry_at_once() -> None:
    """In a child: its failed steps are not tried again after what they ship, as in the tests themselves."""
    dg.RetryPolicy.calculate_delay = lambda policy, attempt: 0.01  # type: ignore[assignment]


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*IMPORTED, *(name for name in HEAVY if name in sys.modules)])
    return context


def _run(
    environment: dict[str, str], folder: str, output: str, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    with open(output, "wb", buffering=0) as file:
        for standard in (1, 2):
            os.dup2(file.fileno(), standard)
    try:
        function(*arguments)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)
