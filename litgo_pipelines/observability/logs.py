"""Structured log lines: one JSON object per line, so that a log store can filter by run, partition and count."""

import json
from typing import Any


def log_json(log: Any, event: str, **fields: Any) -> None:
    """One line on a Dagster step's log. Fields: counts, keys, seconds; never personal data."""
    log.info(json.dumps({"event": event, **fields}, default=str, ensure_ascii=False))
