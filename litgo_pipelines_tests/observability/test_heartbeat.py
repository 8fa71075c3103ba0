"""Lines of progress come while the work is one long call, and end with it."""

import time

import dagster as dg
import pytest

from litgo_pipelines.observability.heartbeat import SECONDS, Heartbeat


def test_lines_come_while_the_work_says_nothing() -> None:
    assert SECONDS <= 15
    said: list[str] = []
    with Heartbeat(said.append, "training", seconds=0.02) as beat:
        beat.at("fold 1")
        while len(said) < 2:
            time.sleep(0.005)
        beat.at("fold 2")
        while "fold 2" not in said[-1]:
            time.sleep(0.005)
    assert said[1].startswith("training: fold 1; 0 s, ")
    lines = len(said)
    time.sleep(0.1)
    assert len(said) == lines
    assert len(beat.usage) == lines + 1
    assert all(used.memory > 10 and used.cpu >= 0 for used in beat.usage)


def test_work_that_fails_ends_the_lines() -> None:
    said: list[str] = []
    beat = Heartbeat(said.append, "training", seconds=0.02)
    with pytest.raises(ValueError, match="broken"), beat:
        raise ValueError("broken")
    lines = len(said)
    time.sleep(0.06)
    assert len(said) == lines


def test_a_step_of_dagster_logs_them() -> None:
    @dg.asset
    def slow(context: dg.AssetExecutionContext) -> None:
        with Heartbeat(context.log.info, "training", seconds=0.02) as beat:
            beat.at("fold 1")
            time.sleep(0.2)

    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([slow], instance=instance)
        lines = [record.user_message for record in instance.all_logs(done.run_id)]
    assert [line for line in lines if line.startswith("training: fold 1; ")]
