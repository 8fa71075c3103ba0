"""Figures that may not exist. Pure."""

from math import isfinite


def finite(value: float) -> float | None:
    """A figure that does not exist is empty: JSON has no number for it, and the page that reads one breaks."""
    return value if isfinite(value) else None
