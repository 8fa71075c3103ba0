"""What a text says whose editor, mail program or import left its own signs in it. Pure.

Belongs here: HTML and its entities, RTF, line breaks written as `\\n`, UTF-8 read as Windows-1252. Read is what
a person would have seen; a `<` or `&` that is none of these stays.
"""

import html
import re

from litgo_pipelines.marketplace.names import reread

_SIGNS = re.compile(r"[<&]|\\[rnt]|^\s*\{\\rtf")
_UNSEEN = re.compile(  # no run goes over a second beginning: the time stays linear
    r"(?is)<(style|script|head|xml)\b[^<>]*>(?:(?!<\1\b).)*?</\1\s*>|<!--(?:(?!<!--).)*?-->|<!doctype[^<>]*>"
)
_WITHIN_WORDS = re.compile(
    r"(?i)</?(?:a|abbr|b|big|del|em|font|i|ins|mark|o:p|s|small|span|strike|strong|sub|sup|u|wbr)(?:\s[^<>=]*=[^<>]*)?\s*/?>"
)
_BETWEEN_WORDS = re.compile(
    r"(?i)</?(?:article|blockquote|body|br|center|code|dd|div|dl|dt|figure|h[1-6]|hr|html|img|li|meta|ol|p|pre|section"
    r"|table|tbody|td|tfoot|th|thead|title|tr|ul)(?:\s[^<>=]*=[^<>]*)?\s*/?>|\\[rnt]"
)
_ENTITY = re.compile(r"&(?:amp;)*(#\d{1,7};|#[xX][0-9a-fA-F]{1,6};|[A-Za-z][A-Za-z0-9]{1,30};)")
_RTF_UNSEEN = re.compile(r"\{\\(?:\*|fonttbl|colortbl|stylesheet|info|pict)[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")
_RTF_CHARACTER = re.compile(r"\\'([0-9a-fA-F]{2})|\\u(-?\d{1,5}) ?\??")
_RTF_BREAK = re.compile(r"\\(?:par|line|tab|cell|row|page|sect)\b ?")
_RTF_WORD = re.compile(r"\\[a-zA-Z]+-?\d* ?|[{}]")


def shown(text: str) -> str:
    """The text without its outermost markup."""
    text = reread(text)
    if not _SIGNS.search(text):
        return text
    if text.lstrip().startswith("{\\rtf"):
        text = _RTF_BREAK.sub(" ", _RTF_CHARACTER.sub(_rtf_character, _RTF_UNSEEN.sub(" ", text)))
        text = _RTF_WORD.sub("", text)
    text = _BETWEEN_WORDS.sub(" ", _WITHIN_WORDS.sub("", _UNSEEN.sub(" ", text)))
    return _ENTITY.sub(lambda found: html.unescape("&" + found[1]), text)


def _rtf_character(found: re.Match[str]) -> str:
    return bytes.fromhex(found[1]).decode("cp1252", "ignore") if found[1] else chr(int(found[2]) % 2**16)
