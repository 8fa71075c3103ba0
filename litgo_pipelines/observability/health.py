"""Health score of the system in 0…1, with its components. Pure.

A part is its worst item: 1 inside the limit, from there in a straight line down to 0 at three times the limit. The
score is the weighted mean of the parts, and 0 while the database cannot be read: then nothing is known. What the
figures are read from is `exporter`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

from litgo_pipelines.jobs import AUTOMATIC, HOUR

WEIGHTS = {"database": 3.0, "writes": 3.0, "daemons": 2.0, "jobs": 2.0, "queues": 2.0, "breakers": 1.0, "champion": 1.0}
# Jobs that must succeed regularly, with the seconds until one of them is late; the others run when there is work.
FRESH = {job.name: job.late_after_hours * HOUR for job in AUTOMATIC if job.late_after_hours is not None}
FINE = 0.7  # a lower score is an alert: HealthScoreLow
BACKUP_HOURS = 26  # an older backup is one: BackupOld
HEARTBEAT = 120.0  # seconds; a daemon beats every 30
QUEUES = {  # gauge of a queue's oldest age → seconds that are nothing unusual
    "case_queue_oldest_age_seconds": 300.0,
    "contract_queue_oldest_age_seconds": 300.0,
    "outbox_oldest_age_seconds": 1800.0,  # the cooldown and a failed attempt or two
    "dagster_oldest_queued_run_age_seconds": 300.0,
}


@dataclass(frozen=True)
class Seen:
    """Ages in seconds. heartbeats: daemon → age; silences: job of FRESH → since its last success; queues: gauge of
    QUEUES → age; breakers: service → 0 closed, 1 open; champion: whether a model serves; writes: whether the database
    takes them."""

    database: bool
    heartbeats: Mapping[str, float] = field(default_factory=dict)
    silences: Mapping[str, float] = field(default_factory=dict)
    queues: Mapping[str, float] = field(default_factory=dict)
    breakers: Mapping[str, float] = field(default_factory=dict)
    champion: bool = False
    writes: bool = True


def within(age: float, limit: float) -> float:
    """1 up to the limit, 0 from three times it on; what is no age is 0."""
    return min(1.0, max(0.0, (3 - age / limit) / 2)) if isfinite(age) else 0.0


def parts(seen: Seen) -> dict[str, float]:
    """Part → value in 0…1. Without a daemon's heartbeat nothing is scheduled: 0. Hand weights for a champion: ½."""
    return {
        "database": float(seen.database),
        "writes": float(seen.writes),
        "daemons": min((within(age, HEARTBEAT) for age in seen.heartbeats.values()), default=0.0),
        "jobs": min((within(age, FRESH[job]) for job, age in seen.silences.items()), default=1.0),
        "queues": min((within(age, QUEUES[queue]) for queue, age in seen.queues.items()), default=1.0),
        # every service has a fallback: even all of them open is not the end
        "breakers": 1 - sum(seen.breakers.values()) / len(seen.breakers) if seen.breakers else 1.0,
        "champion": 1.0 if seen.champion else 0.5,
    }


def score(found: Mapping[str, float]) -> float:
    """The weighted mean of `parts`; 0 without a database."""
    if not found["database"]:
        return 0.0
    return sum(weight * found[part] for part, weight in WEIGHTS.items()) / sum(WEIGHTS.values())
