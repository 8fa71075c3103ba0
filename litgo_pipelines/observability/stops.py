"""Planned stops: what they end is no failure. Kept as a file of LITGO_HOME; this process's own is an event besides."""

import json
import os
import threading
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

FILE = "stops.json"
KEPT = 100

asked = threading.Event()  # this process was asked to end: whoever waits in it waits no longer


def note(home: Path, at: datetime) -> None:
    """A stop begins; every run that is under way ends with it."""
    found = [one.isoformat() for one in (*read(home), at)][-KEPT:]
    partial = home / f".{FILE}.partial-{os.getpid()}"
    partial.write_text(json.dumps(found))
    partial.rename(home / FILE)


def read(home: Path | None) -> list[datetime]:
    """When stops began, the oldest first; none where nothing was noted, or the file is no list of instants."""
    if home is None:
        return []
    try:
        return [datetime.fromisoformat(one) for one in json.loads((home / FILE).read_text())]
    except (FileNotFoundError, ValueError, TypeError):
        return []


def ended_by_one(began: datetime | None, ended: datetime, stops: Iterable[datetime]) -> bool:
    """Whether a run that failed was under way as a stop began: no process of a run outlives one."""
    return began is not None and any(began <= stop <= ended for stop in stops)
