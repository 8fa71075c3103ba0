"""What counts as a run that failed: not one that somebody stopped on purpose."""

import os
import signal
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._utils.interrupts import capture_interrupts

from litgo_pipelines.observability import stops
from litgo_pipelines.observability.exporter import Exporter
from litgo_pipelines_tests.worlds.sessions import kept

AT = datetime(2026, 6, 1, 3, tzinfo=UTC)


def counted(url: str) -> Counter[str]:
    with kept(url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT labels ->> 'status', value::int FROM litgo.metric_state WHERE name = 'job_executions_total'"
        )
        return Counter(dict(cursor.fetchall()))


def test_what_a_planned_stop_ends_is_no_failure(database_url: str, tmp_path: Path) -> None:
    @dg.op(config_schema=str)
    def work(context: dg.OpExecutionContext) -> None:
        if context.op_config == "stopped":
            stops.note(tmp_path, datetime.now(UTC))
        if context.op_config == "asked":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
        raise ValueError("as it happens")

    @dg.job(name="matching")
    def matching() -> None:
        work()

    with dg.instance_for_test() as instance:
        for how in ("fails", "stopped", "asked", "fails"):
            config = {"ops": {"work": {"config": how}}}
            with suppress(DagsterExecutionInterruptedError), capture_interrupts():
                matching.execute_in_process(run_config=config, instance=instance, raise_on_error=False)
        exporter = Exporter(database_url, lambda: instance, tmp_path)
        exporter.sources["dagster"].refresh("dagster")
        assert exporter.sources["dagster"].fine
    assert counted(database_url) == {"failure": 2, "canceled": 2}


@pytest.mark.parametrize(
    ("began", "ended", "by_it"), [(-2, 1, True), (-2, -1, False), (1, 2, False), (0, 0, True), (None, 1, False)]
)
def test_a_stop_ends_what_was_under_way(began: int | None, ended: int, by_it: bool) -> None:
    hour = timedelta(hours=1)
    assert stops.ended_by_one(None if began is None else AT + began * hour, AT + ended * hour, [AT]) is by_it


def test_stops_are_kept_whatever_the_file_holds(tmp_path: Path) -> None:
    assert stops.read(None) == stops.read(tmp_path) == []
    for n in range(stops.KEPT + 5):
        stops.note(tmp_path, AT + timedelta(minutes=n))
    assert len(stops.read(tmp_path)) == stops.KEPT
    assert stops.read(tmp_path)[-1] == AT + timedelta(minutes=stops.KEPT + 4)
    (tmp_path / stops.FILE).write_text('{"half')
    assert stops.read(tmp_path) == []
