"""Progress bars of long steps: a line now and then in a run's log, or a bar on the terminal of a command that waits."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

_terminal: TextIO | None = None


def show_on(terminal: TextIO) -> None:
    """Bars of this process go there from now on, not to its log."""
    global _terminal
    _terminal = terminal


def bar(description: str, total: int | None = None, unit: str = "") -> "tqdm[object]":
    """A bar to `update`, closed by `with`. In a log it is a line every ten seconds at most."""
    from tqdm import tqdm

    live = _terminal is not None and _terminal.isatty()
    return tqdm(
        desc=description,
        total=total,
        unit=f" {unit}",
        file=_terminal,
        mininterval=0.2 if live else 10,
        leave=not live,
        dynamic_ncols=True,
    )


def watching(bar: "tqdm[object]") -> Callable[[str, int, int], None]:
    """What a training tells is shown on the bar."""

    def told(doing: str, done: int, parts: int) -> None:
        bar.total, bar.n = parts, done
        bar.set_postfix_str(doing, refresh=False)
        bar.update(0)

    return told
