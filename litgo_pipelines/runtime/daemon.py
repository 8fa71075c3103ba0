"""Dagster daemon that survives a system clock being set back, and a moment without a free connection.

    python -m litgo_pipelines.runtime.daemon run [arguments of `dagster-daemon run`]

Dagster spaces ticks by the wall clock: when a clock that was ahead is set back, sensors and schedules wait in silence
until it has reached their last tick again. Here the daemon ends when that happens, for whoever started it to start it
again, and forgets what it did in the future before it begins.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from litgo_pipelines.runtime import pulse

LOOKS_EVERY = 2.0  # seconds
RETRIES_FOR = 60.0  # seconds; the daemon beats less often than it is waited for
TOLERATED = timedelta(seconds=15)  # no sensor looks more often
PATIENCE = 20.0  # seconds to end in order

log = logging.getLogger(__name__)


def forget_future(instance: Any, now: datetime) -> tuple[int, int]:
    """Dagster's sensors and schedules go on from `now`; how many waited for a later instant, and later ticks deleted.

    Not undone: what runs wrote while the clock was ahead.
    """
    from litgo_pipelines.dagster_internals import JobTickTable as Ticks

    latest = (now + TOLERATED).timestamp()
    waiting = 0
    for state in instance.all_instigator_state():
        fields = state.instigator_data._asdict() if state.instigator_data else {}
        ahead = [name for name, at in fields.items() if name.endswith("_timestamp") and at and at > latest]
        if ahead:
            data = state.instigator_data._replace(**dict.fromkeys(ahead, now.timestamp()))
            instance.update_instigator_state(state.with_data(data))
            waiting += 1
    with instance.schedule_storage.connect() as connection:  # no call of Dagster's deletes newer ticks
        later = Ticks.c.timestamp > datetime.fromtimestamp(latest, UTC).replace(tzinfo=None)
        deleted = connection.execute(Ticks.delete().where(later)).rowcount
    return waiting, deleted


def end_when_set_back() -> None:
    """Never returns; ends the process once the wall clock lost more than what is tolerated against the monotonic."""
    ahead = time.time() - time.monotonic()
    while True:
        time.sleep(LOOKS_EVERY)
        before, ahead = ahead, time.time() - time.monotonic()
        if before - ahead > TOLERATED.total_seconds():
            log.warning("the clock was set back by %.0f s: the daemon ends, to begin anew", before - ahead)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(PATIENCE)
            os._exit(1)


def with_patience(retry: Callable[[], None]) -> None:
    """Try until it goes well or its time is over, at growing distances: a moment without a connection loses nothing."""
    from tenacity import Retrying, before_sleep_log, stop_before_delay, wait_random_exponential

    Retrying(
        wait=wait_random_exponential(multiplier=1, max=20),
        stop=stop_before_delay(RETRIES_FOR),
        before_sleep=before_sleep_log(log, logging.WARNING),
        reraise=True,
    )(retry)


def begin_log() -> None:
    """What is no line of Dagster's own, which writes them itself: on standard error."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: record.name.partition(".")[0] != "dagster")


def main() -> None:
    import dagster as dg

    from litgo_pipelines.dagster_internals import retry_runs_with_patience, run_daemon

    begin_log()
    pulse.begin()
    threading.Thread(target=end_when_set_back, daemon=True, name="clock").start()
    with dg.DagsterInstance.get() as instance:
        waiting, deleted = forget_future(instance, datetime.now(UTC))
        if waiting or deleted:
            log.warning("%d sensors and schedules waited for the future; %d later ticks forgotten", waiting, deleted)
    retry_runs_with_patience(with_patience)
    run_daemon()


if __name__ == "__main__":
    main()
