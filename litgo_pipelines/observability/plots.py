"""Plots for asset metadata, drawn without a display and without pyplot's global state."""

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def canvas(width: float, height: float) -> "Figure":
    """An empty figure; width and height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=90, layout="constrained")


def figure(title: str, x: str, y: str) -> tuple["Figure", "Axes"]:
    """A figure with one plot, titled, with its axes labelled."""
    drawn = canvas(6.4, 3.2)
    axes = drawn.subplots()
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return drawn, axes


FEWEST = 10  # values worth a picture in what runs every few seconds: drawing it takes longer than what it shows


def png(drawn: "Figure") -> bytes:
    """The figure as a PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def markdown_image(drawn: "Figure", alternative: str) -> str:
    """The figure as markdown with the PNG inside, for `MetadataValue.md`."""
    return embedded(png(drawn), alternative)


def embedded(picture: bytes, alternative: str) -> str:
    """A PNG inside markdown."""
    return f"![{alternative}](data:image/png;base64,{base64.b64encode(picture).decode()})"
