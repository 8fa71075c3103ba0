"""Names and titles as people keep them, made fit to be shown: on a contract, in a greeting, in an e-mail. Pure.

Copied from a chat or an old export they hold what nobody sees, letters in fancy dress, entities of HTML, or accents
that were encoded twice. What can be undone with certainty is; what is lost is not guessed.
"""

import html
import re
import unicodedata
from itertools import dropwhile, takewhile

from litgo_pipelines.marketplace.words import folded

BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u2800\u3164\uffa0"  # letters that show nothing
LONGEST = 100  # characters of a name in a header
_MANY_MARKS = re.compile(r"([\u0300-\u036f]{2})[\u0300-\u036f]+")
_ENTITY = re.compile(r"&(#\d{1,7}|#x[0-9a-fA-F]{1,6}|[a-zA-Z]{2,8});")
# One letter of UTF-8 read as two of Windows': Ã©. Signs of speech only within a word, for an Ã may well end one.
_TWICE = re.compile(r"[\u00c2-\u00c5](?:[\u0080-\u009f\u00a1-\u00bf]|[\u0152-\u2122](?=\w))")
# Letters that stand for plain ones: full width, mathematical, in circles and squares, ligatures.
_DRESSED = re.compile(
    "[\u2102-\u2149\u24b6-\u24e9\ufb00-\ufb06\uff01-\uff5e\U0001d400-\U0001d7ff\U0001f130-\U0001f149]"
)
_UNMAPPED = {first + place: chr(65 + place) for first in (0x1F150, 0x1F170) for place in range(26)}  # 🅐, 🅰
_LOST = re.compile(r"\ufffd|[^\W\d_]\?+[^\W\d_]")  # a letter that an encoding did not have: Jo?o
_NONE = frozenset({"null", "none", "nan", "undefined", "n/a", "na", "nil", "nao informado", "sem nome"})
# Markup, or a template's blank that nobody filled in. A nickname or a maiden name may well stand in angle brackets.
_PROGRAM = re.compile(
    r"(?i)^\W*<[^<>@]*>\W*$|</|<[^<>@]*(?:=|/>)|<%|<(?:a|b|br|center|code|div|em|font|h[1-6]|hr|i|iframe|img|input|li|link|meta|ol|p"
    r"|pre|script|span|strong|style|svg|table|td|tr|u|ul|video)[\s>]|[{}\\]|%[sd(]|(?<!\S)/\S+/(?!\S)"
    r"|^\[[^\[\]]*\]$|^%\w+%$|^\$\w+$"
)
_TITLE = re.compile(
    r"(?:dr|dra|drs|sr|sra|srta|prof|profa|exmo|exma|ilmo|ilma|adv|advogad[oa]|doutora?)\.?", re.IGNORECASE
)
# What mail programs make a link of, and what no name holds. An address stands in many profiles where a name belongs.
_LINK = re.compile(r"://|@|^www\.", re.IGNORECASE)
_AFTER_TITLE = re.compile(r"(?<!\S)((?:dr|dra|sr|sra|srta|prof|profa|adv)\.)(?=\w)", re.IGNORECASE)
_OF_HEADERS = re.compile(r'[(),:;<>@\[\]"\\]+')  # SendGrid takes what stands after one of them for another address


def visible(value: str | None) -> str:
    """One line without what nobody sees: characters of no width, direction marks, control and private characters, emoji
    with their variants, and marks piled on one letter."""
    text = unicodedata.normalize("NFC", _undressed(_decoded(value or "")))
    kept = (" " if letter.isspace() else letter for letter in text if letter.isspace() or not _unseen(letter))
    return " ".join(_MANY_MARKS.sub(r"\1", "".join(kept)).split())


def is_damaged(value: str | None) -> bool:
    """Has an encoding lost a letter of it? Half a name is another one."""
    return bool(_LOST.search(_decoded(value or "")))


def is_name(text: str) -> bool:
    """Does a text as `visible` gives it name anybody? An address of the network alone does not, nor does markup."""
    named = any(letter.isalpha() for word in text.split() if not _LINK.search(word) for letter in word)
    said = folded(text)
    none = said in _NONE or all(word in ("null", "undefined") for word in said.split())
    return named and not none and not _PROGRAM.search(text)


def first_name(value: str | None) -> str | None:
    """How a message greets: without titles and what is no part of a name; None where there is no name.

    Whoever signs up with somebody else's address writes to them by this word: it is none that a mail program links.
    """
    text = _AFTER_TITLE.sub(r"\1 ", visible(value))
    words = [word for word in text.split() if not _TITLE.fullmatch(word) and not _LINK.search(word)]
    bare = ("".join(takewhile(_in_names, dropwhile(lambda letter: not letter.isalpha(), word))) for word in words)
    return next((word[:LONGEST].rstrip("'’-") for word in bare if word), None) if is_name(text) else None


def for_header(value: str | None) -> str | None:
    """A name that may stand beside an e-mail address; None where there is none."""
    text = visible(value)
    said = " ".join(_OF_HEADERS.sub(" ", text).split())[:LONGEST].rstrip()
    return said if is_name(text) and is_name(said) else None


def reread(text: str) -> str:
    """A text of UTF-8 that was read as Windows' letters, as it was meant: «nÃ£o» as «não»."""
    return _TWICE.sub(_once, text)


def _in_names(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LM" or letter in "'’-"


def _decoded(text: str) -> str:
    """Entities of HTML and accents encoded twice, as they were meant."""
    return reread(_ENTITY.sub(lambda found: html.unescape(found[0]), text))


def _once(found: re.Match[str]) -> str:
    for encoding in ("cp1252", "latin-1"):
        try:
            return found[0].encode(encoding).decode()
        except UnicodeError:
            continue
    return found[0]


def _undressed(text: str) -> str:
    return _DRESSED.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text.translate(_UNMAPPED))


def _unseen(letter: str) -> bool:
    if letter in BLANKS or "\ufe00" <= letter <= "\ufe0f" or "\U000e0100" <= letter <= "\U000e01ef":
        return True
    category = unicodedata.category(letter)
    return category[0] == "C" or (category == "So" and ord(letter) > 0x2000) or "\U0001f3fb" <= letter <= "\U0001f3ff"
