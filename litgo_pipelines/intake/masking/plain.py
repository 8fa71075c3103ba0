"""Plain text as the patterns of masking read it, and the way back to the text as it was written. Pure.

Read are letters without accents, ASCII digits, one kind of dash, dot, slash and blank, no entities and nothing
invisible. Every character knows its place in the original, so that what is not masked stays as it was.
"""

import html
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

TAKEN, KEPT = "\x01", "\x02"  # stand for what is masked already, and for what must stay
_ENTITY = r"&(?:amp;)*(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});?"
_UNUSUAL = re.compile(
    rf"{_ENTITY}|[^\t\n\r\x20-\x7e\u00a0\u00a7\u00aa\u00b0\u00ba\u00c0-\u00c5\u00c7-\u00cf\u00d1-\u00d6\u00d9-\u00dd"
    r"\u00e0-\u00e5\u00e7-\u00ef\u00f1-\u00f6\u00f9-\u00fd\u00ff\u2013\u2014\u2018\u2019\u201c\u201d\u2022]"
)
_ALIKE = str.maketrans(
    "АВЕКМНОРСТХаеорсухіјΑΒΕΖΗΙΚΜΝΟΡΤΥΧο‘’“”•·∙⋅。․⁄∕−﹣",
    "ABEKMHOPCTXaeopcyxijABEZHIKMNOPTYXo''\"\"......//--",
)


class Plain(NamedTuple):
    """`origin`: of each character the place where it begins in the original, and its end; None: the same place."""

    text: str
    origin: list[int] | None

    def written(self, start: int, end: int) -> tuple[int, int]:
        """A span of the plain text in the original."""
        return (self.origin[start], self.origin[end]) if self.origin else (start, end)

    def masked(self, original: str, spans: Sequence[tuple[int, int, str]]) -> str:
        """`original` with each span (start, end, placeholder) of the plain text replaced; spans do not overlap."""
        pieces: list[str] = []
        last = 0
        for start, end, placeholder in sorted(spans):
            start, end = self.written(start, end)
            pieces += [original[last:start], placeholder]
            last = end
        return "".join([*pieces, original[last:]])


def plain(text: str) -> Plain:
    if not _UNUSUAL.search(text):
        return Plain(text if text.isascii() else text.translate(_SIMPLE), None)
    pieces: list[str] = []
    origin: list[int] = []
    last = 0
    for found in _UNUSUAL.finditer(text):
        piece = found[0]
        shown = "".join(map(simple, _entity(piece) if len(piece) > 1 else piece))
        if len(shown) == len(piece) == 1:
            continue  # goes with what stands around it
        pieces += [text[last : found.start()].translate(_SIMPLE), shown]
        origin.extend(range(last, found.start()))
        origin.extend([found.start()] * len(shown))
        last = found.end()
    if not last:
        return Plain(text.translate(_SIMPLE), None)
    pieces.append(text[last:].translate(_SIMPLE))
    origin.extend(range(last, len(text) + 1))
    return Plain("".join(pieces), origin)


def _entity(piece: str) -> str:
    while piece != (shown := html.unescape(piece)):
        piece = shown
    return piece


@lru_cache(maxsize=8_192)
def simple(character: str) -> str:
    """What a character is read as: mostly one ASCII character, none for what is invisible or a mark."""
    if character in "\t\n\r" or " " <= character <= "~":
        return character
    kept = []
    for each in unicodedata.normalize("NFKD", character.translate(_ALIKE)):
        category = unicodedata.category(each)
        if category == "Nd":
            kept.append(str(unicodedata.digit(each)))
        elif category == "Pd":
            kept.append("-")
        elif category[0] == "Z" or category == "Cc":
            kept.append(" ")
        elif category not in ("Cf", "Mn", "Me"):
            kept.append(each.translate(_ALIKE))
    return "".join(kept)


class _Simple(dict[int, str]):
    """What `str.translate` looks up; filled as characters come."""

    def __missing__(self, number: int) -> str:
        shown = simple(chr(number))
        if len(self) < 8_192:
            self[number] = shown
        return shown


_SIMPLE = _Simple()
