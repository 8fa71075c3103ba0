"""Progress bars go to the terminal of whoever waits, else to the log in few lines."""

import io

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
