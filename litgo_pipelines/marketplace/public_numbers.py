"""Public numbers for whoever is in danger: a text to edit, `public_numbers.txt` or a file of the settings."""

import re
from importlib.resources import files

from litgo_pipelines.settings import settings


def help_text() -> str:
    """The text as one paragraph. Raises FileNotFoundError where LITGO_PUBLIC_NUMBERS names no file."""
    path = settings().litgo_public_numbers
    text = (
        path.read_text(encoding="utf-8")
        if path
        else files(__package__).joinpath("public_numbers.txt").read_text(encoding="utf-8")
    )
    return " ".join(text.split())


def numbers() -> list[str]:
    """The numbers the text names, in its order."""
    return list(dict.fromkeys(re.findall(r"\b\d{3}\b", help_text())))
