"""What steps of several stages share: how a failed one is tried again, and the instant it works for."""

from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


def now() -> datetime:
    """This instant. Sensors, schedules and steps without a given instant ask here, so that a simulation can answer."""
    return datetime.now(UTC)


class AsOfConfig(dg.Config):
    """Unset: when the step starts. Set: for replays, and to repeat what another run did."""

    as_of: str | None = Field(default=None, description="ISO 8601 with a zone, like 2026-01-31T02:00:00-03:00")

    def given(self) -> datetime | None:
        """The instant that was asked for. Raises Failure, which no retry mends, for what is none or has no zone."""
        if self.as_of is None:
            return None
        try:
            instant = datetime.fromisoformat(self.as_of)
        except ValueError as error:
            raise dg.Failure(f"as_of={self.as_of!r} is no ISO 8601 instant", allow_retries=False) from error
        if instant.tzinfo is None:
            raise dg.Failure(f"as_of={self.as_of!r} has no zone: 2026-01-31T02:00:00-03:00", allow_retries=False)
        return instant

    def instant(self) -> datetime:
        """The instant that was asked for, else this one. Raises as `given`."""
        return self.given() or now()
