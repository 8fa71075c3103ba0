"""Sentiment of a client's review comment in Portuguese, from a lexicon. Pure.

`lexicon.csv` holds the words; here is how negation, intensity and contrast change them. Reads what Brazilians type:
without accents, abbreviated, with emoji.
"""

import csv
import hashlib
import io
import re
import unicodedata
from functools import cache, lru_cache
from importlib.resources import files
from math import sqrt
from typing import NamedTuple

RULES = 1  # raise it when this module would score a comment differently
LONGEST = 10_000  # characters read of a comment
DECIMALS = 3
REACH = 4  # words a negation reaches; an intensifier half of it
NEGATED_PRAISE, NEGATED_BLAME = -1.0, -0.7  # "não gostei" is as bad as "gostei" is good; "não foi ruim" is less good
BARE_NEGATION = -0.7  # "o advogado não apareceu": a negation of nothing the lexicon knows
BEFORE_CONTRAST, AFTER_CONTRAST, CONCEDED = 0.5, 1.5, 0.4
SATURATION = 6.0

_MARKS = re.compile("[\u0300-\u036f\ufe0e\ufe0f\u200d\U0001f3fb-\U0001f3ff]")  # accents, and variants of an emoji
_STRETCHED = re.compile(r"([^\W\d_])\1{2,}")
_TOKEN = re.compile(r"[^\W\d_]+|\d+|[.,;:!?\n]+|[^\w\s]")


class Term(NamedTuple):
    kind: str  # opinion, negator, intensifier, contrast, concession, filler (hides a word that would count)
    weight: float
    words: int
    negated: bool = False  # holds its own negation: another one before it changes nothing


STOP = Term("stop", 0.0, 1)  # punctuation: negation and intensity end here


class Lexicon(NamedTuple):
    words: dict[str, Term]
    stems: dict[str, Term]
    phrases: dict[str, list[tuple[tuple[str, ...], Term]]]  # by first word, longest first
    digest: str


@cache
def _lexicon() -> Lexicon:
    text = files(__package__).joinpath("lexicon.csv").read_text(encoding="utf-8")
    found = Lexicon({}, {}, {}, hashlib.sha256(text.encode()).hexdigest()[:12])
    rows = list(csv.DictReader(io.StringIO(text)))
    negators = {row["term"] for row in rows if row["kind"] == "negator"}
    for row in rows:
        *_, last = words = tuple(row["term"].split())
        term = Term(row["kind"], float(row["weight"]), len(words), len(words) > 1 and words[0] in negators)
        if len(words) > 1:
            found.phrases.setdefault(words[0], []).append((words, term))
        elif last.endswith("*"):
            found.stems[last[:-1]] = term
        else:
            found.words[last] = term
    for phrases in found.phrases.values():
        phrases.sort(key=lambda phrase: -len(phrase[0]))
    return found


def version() -> str:
    """Of lexicon and rules: comments scored by another one are scored again."""
    return f"{RULES}-{_lexicon().digest}"


def tokens(comment: str) -> list[str]:
    """Words, numbers, emoji and runs of punctuation; lower case, no accents, no letter more than twice in a row."""
    text = comment[:LONGEST].lower()
    if not text.isascii():
        text = _MARKS.sub("", unicodedata.normalize("NFD", text))
    return _TOKEN.findall(_STRETCHED.sub(r"\1", text))


@lru_cache(maxsize=1 << 16)
def _word(token: str) -> Term | None:
    lexicon = _lexicon()
    if term := lexicon.words.get(token):
        return term
    return next((t for end in range(len(token), 2, -1) if (t := lexicon.stems.get(token[:end]))), None)


def _terms(found: list[str]) -> list[Term | None]:
    """What the tokens mean, a phrase as one; None for a word that is not in the lexicon."""
    terms: list[Term | None] = []
    at = 0
    while at < len(found):
        if found[at][0] in ".,;:!?\n":
            term: Term | None = STOP
        else:
            term = _phrase(found, at) or _word(found[at])
        terms.append(term)
        at += term.words if term else 1
    terms.append(STOP)
    return terms


def _phrase(found: list[str], at: int) -> Term | None:
    for words, term in _lexicon().phrases.get(found[at], ()):
        there = found[at : at + term.words]
        if len(there) == term.words and all(map(_matches, there, words)):
            return term
    return None


def _matches(word: str, pattern: str) -> bool:
    return word.startswith(pattern[:-1]) if pattern.endswith("*") else word == pattern


def polarity(comment: str) -> float | None:
    """0 (blames) … 1 (praises), .5 when both weigh the same; None when the comment says nothing either way.

    The sum s of the opinions is drawn to [0, 1] as (1 + s / √(s² + SATURATION)) / 2, after VADER (Hutto & Gilbert,
    ICWSM 2014). Only the first LONGEST characters are read.
    """
    terms = _terms(tokens(comment))
    total = latest = 0.0
    said = False
    emphasis = conceded = boost = 1.0
    negated = boosted = 0  # words they still reach
    previous: Term | None = STOP
    for term, following in zip(terms, [*terms[1:], STOP], strict=True):
        kind = term.kind if term else ""
        if negated and kind != "opinion":
            negated -= 1
            if not negated or kind in ("stop", "contrast"):
                total += BARE_NEGATION * emphasis * conceded
                said, negated = True, 0
        boosted = max(boosted - 1, 0)
        if term is None:
            pass
        elif kind == "opinion":
            latest = term.weight * (boost if boosted else 1.0) * emphasis * conceded
            if negated and not term.negated:
                latest *= NEGATED_PRAISE if latest > 0 else NEGATED_BLAME
            total += latest
            said, negated, boosted = True, 0, 0
        elif kind == "negator":
            negated = REACH + 1
        elif kind == "intensifier":
            if previous and previous.kind == "opinion" and not (following and following.kind == "opinion"):
                total += latest * (term.weight - 1)  # "bom demais"
            else:
                boost, boosted = term.weight, REACH // 2 + 1
        elif kind == "concession":
            conceded = CONCEDED
        elif kind in ("stop", "contrast"):
            boosted, conceded = 0, 1.0
            if kind == "contrast":
                total *= BEFORE_CONTRAST
                emphasis = AFTER_CONTRAST
        previous = term
    if not said:
        return None
    return round((1 + total / sqrt(total * total + SATURATION)) / 2, DECIMALS)
