"""Text as triage reads it, and its words. Pure; accepts anything a client may type or paste."""

import re
import unicodedata
from collections.abc import Container

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


def meant(text: str, known: Container[str]) -> str:
    """The text, folded, with the words that somebody disguised: figures and signs for letters, letters one by one, and
    a word cut in two, where together they are `known` and one of them is not."""
    spelt = _ONE_BY_ONE.sub(lambda found: _NO_LETTER.sub("", found[0]), fold(text))
    found: list[str] = []
    for word in (each if _MEASURE.fullmatch(each) else each.translate(_LETTERS) for each in spelt.split()):
        parts = [part for each in (*found[-1:], word) if len(part := _NO_LETTER.sub("", each)) > 1]
        if len(parts) == 2 and "".join(parts) in known and not all(part in known for part in parts):
            found[-1] += word
        else:
            found.append(word)
    return " ".join(found)


# What looks like a letter, and what is a number, an amount, a measure or an address all the same.
_LETTERS = str.maketrans("@4310578$", "aaeiostbs")
_MEASURE = re.compile(r"[^a-z]*|\W*\d[\d.,]*[a-z]{1,3}\d*\W*|[a-z]{1,2}\W?\d[\d.,]+|r\$.*|.*@.*[.].*")
_ONE_BY_ONE = re.compile(r"(?<!\w)(?:[a-z][\s._*\-]{1,2}){3,}[a-z](?!\w)")
_NO_LETTER = re.compile("[^a-z]")


def words(text: str) -> list[str]:
    return _WORD.findall(fold(text))
