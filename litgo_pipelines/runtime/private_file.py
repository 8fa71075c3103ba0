"""What is made for this user alone: files with passwords, from their first byte on, and all that a process makes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


@contextmanager
def umask() -> Iterator[None]:
    """Within, every file and folder of this process and of its children is this user's alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
