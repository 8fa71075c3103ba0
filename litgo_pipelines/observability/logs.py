"""Structured log lines: one JSON object per line, so that a log store can filter by run, partition and count."""

import json
from logging import Logger


def log_json(log: Logger, event: str, **fields: object) -> None:
    """One line on a Dagster step's log. Fields: counts, keys, seconds; never personal data."""
    log.info(json.dumps({"event": event, **fields}, default=str, ensure_ascii=False))
