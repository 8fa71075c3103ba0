"""Markdown tables for asset metadata and pages. Pure."""

from collections.abc import Container, Iterable, Sequence


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
    return "| " + " | ".join(map(str, cells)) + " |"
