"""Signs of life: a process that has no page of its own touches a file every moment, which its supervisor looks at.

Belongs here: the beat and how it is read. What follows when it stops is the supervisor's.
"""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

VARIABLE = "LITGO_PULSE"  # names the file; set by whoever looks at it
EVERY = 1.0  # seconds


def begin() -> None:
    """A thread of this process beats from now on, where somebody looks at it."""
    if path := os.environ.pop(VARIABLE, None):  # not for the processes it starts
        threading.Thread(target=_beat, args=(Path(path),), daemon=True, name="pulse").start()


def _beat(path: Path) -> None:
    while True:
        with suppress(OSError):
            path.touch(mode=0o600)
        time.sleep(EVERY)


def read(path: Path) -> int | None:
    """Another number after each beat; None before the first."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
