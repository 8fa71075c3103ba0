"""Markdown tables for asset metadata and pages. Pure."""

import re
from collections.abc import Container, Iterable, Sequence

_BAR = re.compile(r"(?<!\\)\|")


def markdown_table(
    columns: Sequence[object], rows: Iterable[Sequence[object]], *, right: Container[int] = (), empty: str = ""
) -> str:
    """A table with a header; right: numbers of the columns aligned right.

    empty: text of every cell of the one row shown when there are no rows; '' shows the header alone.

    >>> print(markdown_table(("model", "texts"), [("a", 1)], right=(1,)))
    | model | texts |
    |---|--:|
    | a | 1 |
    """
    lines = [_line(row) for row in rows]
    if not lines and empty:
        lines = [_line([empty] * len(columns))]
    rule = "|" + "".join("--:|" if number in right else "---|" for number in range(len(columns)))
    return "\n".join([_line(columns), rule, *lines])


def _line(cells: Iterable[object]) -> str:
    return "| " + " | ".join(_cell(str(cell)) for cell in cells) + " |"


def _cell(text: str) -> str:
    r"""What would end the cell or the row, without doing so.

    >>> print(_line(["a | b", "two\nlines"]))
    | a \| b | two lines |
    """
    return _BAR.sub(r"\\|", " ".join(text.splitlines()))
