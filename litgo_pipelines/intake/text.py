"""Text as triage reads it, and its words. Pure; accepts anything a client may type or paste."""

import re
import unicodedata

from litgo_pipelines.marketplace import markup

LONGEST = 10_000  # characters read of a title and a description together
FOR_RULES = 100_000  # in which unmistakable words are looked for, and of each part, markup and all
PASSES = 8  # markup within markup, as often as anybody escaped it
END = 0.25  # of what is read of a longer text, that is of its end: people say there why they write

_WORD = re.compile("[a-z0-9]+")
_MARKS = re.compile("[\u0300-\u036f]")


def clean(*parts: str | None, longest: int = LONGEST) -> str:
    """The parts as one text of at most `longest` characters: without markup, NFKC, without invisible characters, spaces
    collapsed. Of a longer one, its beginning and its end."""
    return _ends(" ".join(filter(None, (_cleaned(_ends(part, FOR_RULES)) for part in parts if part))), longest)


def _cleaned(text: str) -> str:
    for _ in range(PASSES):
        kept = "".join(map(_visible, _ends(unicodedata.normalize("NFKC", markup.shown(text)), FOR_RULES)))
        if text == (plain := " ".join(kept.split())):
            break
        text = plain
    return text


def _ends(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    end = int(longest * END)
    return f"{text[: longest - end - 1].rstrip()} {text[-end:].lstrip()}"


def _visible(character: str) -> str:
    """Control characters become spaces; what has no width (and could split a word or a number unseen) goes."""
    category = unicodedata.category(character)
    return character if category[0] != "C" else " " if category == "Cc" else ""


def fold(text: str) -> str:
    """Lower case, no accents, as `litgo.folded` in the database."""
    return text.lower() if text.isascii() else _MARKS.sub("", unicodedata.normalize("NFD", text.lower()))


def other_script(text: str) -> bool:
    """Whether most of a text's letters are not Latin."""
    letters = [character for character in fold(text) if character.isalpha()]
    return 2 * sum(character.isascii() for character in letters) < len(letters)


def words(text: str) -> list[str]:
    return _WORD.findall(fold(text))
