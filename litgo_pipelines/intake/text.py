"""Text as triage reads it, and its words. Pure; accepts anything a client may type or paste."""

import re
import unicodedata

LONGEST = 10_000  # characters read of a title and a description together

_WORD = re.compile("[a-z0-9]+")
_MARKS = re.compile("[\u0300-\u036f]")


def clean(*parts: str | None) -> str:
    """The parts as one text of at most LONGEST characters: NFKC, without invisible characters, spaces collapsed."""
    text = "\n".join(part[:LONGEST] for part in parts if part)[:LONGEST]
    kept = (_visible(character) for character in unicodedata.normalize("NFKC", text))
    return " ".join("".join(kept).split())[:LONGEST].strip()


def _visible(character: str) -> str:
    """Control characters become spaces; what has no width (and could split a word or a number unseen) goes."""
    category = unicodedata.category(character)
    return character if category[0] != "C" else " " if category == "Cc" else ""


def fold(text: str) -> str:
    """Lower case, no accents, as `litgo.folded` in the database."""
    return text.lower() if text.isascii() else _MARKS.sub("", unicodedata.normalize("NFD", text.lower()))


def words(text: str) -> list[str]:
    return _WORD.findall(fold(text))
