"""Runs and their retries that cannot begin for a moment: tried again, at growing distances, and not for good."""

import logging
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import dagster as dg
import psycopg2
import pytest
from dagster._core.errors import DagsterLaunchFailedError, DagsterUserCodeUnreachableError
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._daemon.auto_run_reexecution import auto_run_reexecution as retries
from dagster_postgres.utils import DagsterPostgresException

from litgo_pipelines.dagster_internals import retry_runs_with_patience
from litgo_pipelines.runtime import daemon
from litgo_pipelines.runtime.run_launcher import CheckedRunLauncher

FULL = psycopg2.OperationalError("FATAL: sorry, too many clients already")
RETRIES = {"run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}}


@dg.job
def anything() -> None: ...


@pytest.mark.parametrize("failures", [2, 10_000])
def test_a_retry_without_a_free_connection_is_made_again(failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    def retry(run: dg.DagsterRun, context: Any) -> None:
        tries.append(run.run_id)
        if len(tries) <= failures:
            raise DagsterPostgresException("too many retries for DB connection") from FULL

    monkeypatch.setattr(retries, "retry_run", retry)
    monkeypatch.setattr(daemon, "RETRIES_FOR", 8.0 if failures == 2 else 1.0)
    retry_runs_with_patience(daemon.with_patience)
    with dg.instance_for_test(overrides=RETRIES) as instance:
        run = instance.create_run_for_job(anything, status=dg.DagsterRunStatus.STARTED)
        killed = JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION)
        instance.report_run_failed(run, "its process is gone", killed)
        records = instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
        context: Any = SimpleNamespace(instance=instance)
        list(retries.consume_new_runs_for_automatic_reexecution(context, records, logging.getLogger("daemon")))
        found = instance.get_run_by_id(run.run_id)
    assert found is not None
    given_up = found.tags.get("dagster/will_retry") == "false"
    assert given_up == (failures != 2), "bounded"
    assert len(tries) == 3 if failures == 2 else len(tries) >= 1


@pytest.mark.parametrize(
    "error", [DagsterLaunchFailedError("no connection"), DagsterPostgresException("no connection")]
)
def test_a_run_that_could_not_begin_goes_back_to_the_queue(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr(dg.DefaultRunLauncher, "launch_run", refuse)
    context: Any = None
    with pytest.raises(DagsterUserCodeUnreachableError, match="could not begin"):
        CheckedRunLauncher().launch_run(context)


def test_the_daemon_writes_each_line_once() -> None:
    script = """
import logging
from dagster._utils.log import configure_loggers
from litgo_pipelines.runtime import daemon
daemon.begin_log()
configure_loggers()
logging.getLogger("dagster.daemon.SensorDaemon").info("of Dagster")
logging.getLogger("litgo_pipelines.runtime.daemon").warning("of ours")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert [done.stderr.count(line) + done.stdout.count(line) for line in ("of Dagster", "of ours")] == [1, 1]
