"""Figures that may not exist, and characters that nothing can hold. Pure."""

import re
from math import isfinite

UNWRITABLE = re.compile("[\x00\ud800-\udfff]")  # NUL and half of a surrogate pair: Postgres has no text with them


def finite(value: float) -> float | None:
    """A figure that does not exist is empty: JSON has no number for it, and the page that reads one breaks."""
    return value if isfinite(value) else None
