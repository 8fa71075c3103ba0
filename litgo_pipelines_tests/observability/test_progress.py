"""Bars go to the terminal of whoever waits, else to the log in few lines; a heartbeat speaks while work is silent."""

import io
import time

import dagster as dg
import pytest

from litgo_pipelines.observability import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_training_is_told_on_the_terminal_that_waits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(progress, "_terminal", None)
    progress.show_on(terminal)
    with progress.bar("training", unit="entries") as bar:
        told = progress.watching(bar)
        told("lambdamart, 30 rounds", 1, 4)
        bar.refresh()
    shown = terminal.getvalue()
    assert "training" in shown
    assert "1/4" in shown
    assert "lambdamart, 30 rounds" in shown
    assert capsys.readouterr().err == ""


def test_without_one_it_is_a_line_of_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_terminal", None)
    with progress.bar("nights", 30, "nights") as bar:
        for _ in range(30):
            bar.update()
    shown = capsys.readouterr().err
    assert "30/30" in shown
    assert shown.count("nights:") <= 3


def test_lines_come_while_the_work_says_nothing() -> None:
    assert progress.SECONDS <= 15
    said: list[str] = []
    with progress.Heartbeat(said.append, "training", seconds=0.02) as beat:
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
    beat = progress.Heartbeat(said.append, "training", seconds=0.02)
    with pytest.raises(ValueError, match="broken"), beat:
        raise ValueError("broken")
    lines = len(said)
    time.sleep(0.06)
    assert len(said) == lines


def test_a_step_of_dagster_logs_them() -> None:
    @dg.asset
    def slow(context: dg.AssetExecutionContext) -> None:
        with progress.Heartbeat(context.log.info, "training", seconds=0.02) as beat:
            beat.at("fold 1")
            time.sleep(0.2)

    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([slow], instance=instance)
        lines = [record.user_message for record in instance.all_logs(done.run_id)]
    assert [line for line in lines if line.startswith("training: fold 1; ")]
