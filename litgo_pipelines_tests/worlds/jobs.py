"""Jobs of the code location run in this process, and services that take every message."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from litgo_pipelines import definitions
from litgo_pipelines.equity.assets import NIGHTS
from litgo_pipelines.simulation.faults import FaultServer, answer, json_answer

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@contextmanager
def services() -> Iterator[dict[str, str]]:
    with (
        FaultServer(json_answer({"id": "b98881cc-1e94-4366-bbd9-db8f3429292b"})) as push,
        FaultServer(answer(b"", 202, X_Message_Id="mail-1")) as mail,
    ):
        yield {
            "ONESIGNAL_BASE_URL": push.url,
            "ONESIGNAL_APP_ID": "app",
            "ONESIGNAL_API_KEY": "key",
            "SENDGRID_BASE_URL": mail.url,
            "SENDGRID_API_KEY": "key",
            "TEAM_EMAIL": "equipe@example.com",
        }


def causes(event: dg.DagsterEvent) -> str:
    """The error of a failed step, with the one that its retries hide."""
    error = event.step_failure_data.error
    assert error is not None
    return (error.cause or error).to_string()


def nights(number: int) -> list[str]:
    """Partition keys of the newest nights."""
    return list(NIGHTS.get_partition_keys(datetime.now(UTC))[-number:])


def last_night() -> datetime:
    """The instant the newest one is for."""
    return NIGHTS.time_window_for_partition_key(nights(1)[0]).end


class Jobs:
    """Runs jobs of the code location in this process."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.repository = instance, definitions.build_defs().get_repository_def()

    def run(self, job: str, *only: str, **more: Any) -> None:
        done = self.repository.get_job(job).execute_in_process(
            **{
                "instance": self.instance,
                "asset_selection": [dg.AssetKey(asset) for asset in only] or None,
                "run_config": QUIET,
                "raise_on_error": False,
            }
            | more
        )
        assert done.success, [causes(event) for event in done.all_events if event.is_step_failure]
