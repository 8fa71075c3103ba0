"""Progress of long steps: bars, which are lines in a log, and a heartbeat that speaks whatever the step waits for."""

import resource
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS = 10.0  # between two lines; nobody waits for longer than 15 s
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024

_terminal: TextIO | None = None


def show_on(terminal: TextIO) -> None:
    """Bars of this process go there from now on, not to its log."""
    global _terminal
    _terminal = terminal


def bar(description: str, total: int | None = None, unit: str = "") -> "tqdm[object]":
    """A bar to `update`, closed by `with`. In a log it is a line every ten seconds at most."""
    from tqdm import tqdm

    live = _terminal is not None and _terminal.isatty()
    return tqdm(
        desc=description,
        total=total,
        unit=f" {unit}",
        file=_terminal,
        mininterval=0.2 if live else 10,
        leave=not live,
        dynamic_ncols=True,
    )


def watching(bar: "tqdm[object]") -> Callable[[str, int, int], None]:
    """What a training tells is shown on the bar."""

    def told(doing: str, done: int, parts: int) -> None:
        bar.total, bar.n = parts, done
        bar.set_postfix_str(doing, refresh=False)
        bar.update(0)

    return told


class Usage(NamedTuple):
    """at: seconds since the epoch; cpu: of one core, in percent since the sample before; memory: highest so far, MB."""

    at: float
    cpu: float
    memory: float


class Heartbeat:
    """Says where `what` stands, through `say`, from entering to leaving; `at` is the callback of those who do the work.

    A thread says it, because the work may be one call into native code. It also samples what the process uses.
    """

    def __init__(self, say: Callable[[str], None], what: str, seconds: float = SECONDS) -> None:
        self._say, self._what, self._seconds = say, what, seconds
        self._stage = "begins"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"progress of {what}", daemon=True)
        self.usage: list[Usage] = []

    def at(self, stage: str) -> None:
        """Where the work stands from now on; cheap, so that it may be called often."""
        self._stage = stage

    def __enter__(self) -> "Heartbeat":
        self._began = self._sampled = time.monotonic()
        self._cpu = time.process_time()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self.sample()

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            used = self.sample()
            self._say(
                f"{self._what}: {self._stage}; {time.monotonic() - self._began:.0f} s, {used.memory:,.0f} MB at most"
            )

    def sample(self) -> Usage:
        """What the process uses at this moment; kept in `usage`."""
        now, cpu = time.monotonic(), time.process_time()
        share = 100 * (cpu - self._cpu) / max(now - self._sampled, 1e-3)
        self._sampled, self._cpu = now, cpu
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES / 1e6
        used = Usage(time.time(), round(share, 1), round(memory, 1))
        self.usage.append(used)
        return used


def both(say: Callable[[str], None], watch: Callable[[str, int, int], None]) -> Callable[[str, int, int], None]:
    """What a training tells goes to the heartbeat and to whoever watches it."""

    def told(doing: str, done: int, parts: int) -> None:
        say(f"{doing}, {done} of {parts} done")
        watch(doing, done, parts)

    return told
