"""Circuit breaker shared by all processes of a service, its state one row of `litgo.circuit_breakers`.

Closed → open after a run of failed attempts → after a pause one process gets a probe (half-open) → closed on success,
open again on failure. A probe is a lease: when its process dies, the next one gets it after the lease. Each transition
is one statement and the database's clock is the only one, so that racing processes agree.

pybreaker was looked at: behind a shared storage its half-open state lets every process call, a transition is several
statements, and it compares with each machine's own clock.
"""

import uuid
from dataclasses import dataclass
from typing import NamedTuple

from litgo_pipelines.database import sql
from litgo_pipelines.resources.bounded import BriefDatabase


class Admission(NamedTuple):
    """`retry_in`: None, the attempt may go ahead; else the seconds until there is a probe to be had."""

    token: str
    probe: bool
    retry_in: float | None


@dataclass(frozen=True)
class CircuitBreaker:
    """`threshold`: failed attempts in a row that open it; `pause_seconds`: from then to the probe.

    Every method raises DatabaseUnavailable: what to do without a breaker is the caller's to decide.
    """

    service: str
    database: BriefDatabase
    threshold: int = 5
    pause_seconds: float = 30.0

    def admit(self, lease_seconds: float) -> Admission:
        """May an attempt go ahead? One that is the probe has `lease_seconds` to report."""
        token = str(uuid.uuid4())
        row = self.database.row(ADMIT, {"service": self.service, "token": token, "lease": lease_seconds})
        probe, left = row or (False, None)
        return Admission(token, probe, None if probe or left is None else max(0.0, left))

    def succeeded(self, admission: Admission) -> bool:
        """The attempt was answered. True: that closed the breaker, which only its probe can."""
        row = self.database.row(SUCCEEDED, {"service": self.service, "token": admission.token})
        return admission.probe and row is not None

    def failed(self, admission: Admission, reason: str, pause_seconds: float = 0.0) -> bool:
        """The attempt failed. True: that opened the breaker. `pause_seconds`: when the service asks for a longer one.

        An attempt that was admitted before the breaker opened does not prolong the pause.
        """
        parameters = {
            "service": self.service,
            "token": admission.token,
            "reason": reason,
            "threshold": self.threshold,
            "pause": max(self.pause_seconds, pause_seconds),
        }
        row = self.database.row(FAILED, parameters)
        return bool(row and row[0])


ADMIT = sql("litgo_pipelines.resources", "breaker_admit.sql")
SUCCEEDED = """
UPDATE litgo.circuit_breakers SET failures = 0, opened_at = NULL, retry_at = NULL, probe = NULL
WHERE service = %(service)s AND (opened_at IS NULL AND failures > 0 OR probe = %(token)s::uuid)
RETURNING 1
"""
FAILED = sql("litgo_pipelines.resources", "breaker_failed.sql")
