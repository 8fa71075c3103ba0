"""Urgency and complexity by explicit rules on Portuguese phrases, from `rules.csv`. Pure.

A pattern is words without accents; `word*` is any word that starts so, `*` alone one to three words, `{n}` a number
that multiplies the value. A phrase that is negated just before it ("não tem audiência amanhã") does not count, but for
those of danger: "sem habeas corpus meu filho continua preso" is no denial.
"""

import csv
import io
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from litgo_pipelines.intake.text import fold, meant

URGENCY_H, COMPLEXITY = 72, "MEDIUM"  # where no rule speaks
LEAST_H, MOST_H = 2, 720
LEVELS = ("LOW", "MEDIUM", "HIGH")

_VALUES = {
    "um": 1,
    "uma": 1,
    "dois": 2,
    "duas": 2,
    "tres": 3,
    "quatro": 4,
    "cinco": 5,
    "seis": 6,
    "sete": 7,
    "oito": 8,
    "nove": 9,
    "dez": 10,
    "doze": 12,
    "quinze": 15,
    "vinte": 20,
    "trinta": 30,
}
_PARTS = {"*": r"\w+(?: \w+){0,2}", "{n}": rf"(?P<n>\d{{1,3}}|{'|'.join(_VALUES)})"}
_NEGATED = re.compile(r"\b(?:nao|nunca|sem|nenhum|nenhuma)(?: \w+){0,2} $")


class Rule(NamedTuple):
    field: str
    value: str
    pattern: re.Pattern[str]


@cache
def rules() -> list[Rule]:
    text = files(__package__).joinpath("rules.csv").read_text(encoding="utf-8")
    return [Rule(row["field"], row["value"], _compile(row["pattern"])) for row in csv.DictReader(io.StringIO(text))]


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(expression(pattern))


def expression(pattern: str) -> str:
    """A pattern as a regular expression over what `plain` gives."""
    parts = (_PARTS.get(word) or re.escape(word).replace(r"\*", r"\w*") for word in pattern.split())
    return rf"\b{' '.join(parts)}\b"


def _found(text: str, field: str) -> list[tuple[str, int]]:
    """(value, number) of the rules that apply; the number is 1 where the pattern has none."""
    return [
        (rule.value, _number(match.groupdict().get("n")))
        for rule in rules()
        if rule.field == field
        for match in rule.pattern.finditer(text)
        if field == "danger" or not _NEGATED.search(text[max(match.start() - 60, 0) : match.start()])
    ]


def _number(text: str | None) -> int:
    return 1 if text is None else _VALUES[text] if text in _VALUES else int(text)


def plain(text: str) -> str:
    """Words and single spaces; punctuation stays as a mark no pattern reaches across."""
    return re.sub(r" +", " ", re.sub(r"([^\w\s])", r" \1 ", fold(text)))


def urgency_h(text: str) -> int | None:
    """Hours until a lawyer must act: the shortest a rule names, from LEAST_H to MOST_H; None where no rule speaks."""
    found = [
        rule
        for read_as in {plain(text), plain(meant(text, ()))}
        for field in ("danger", "urgency")
        for rule in _found(read_as, field)
    ]
    hours = [int(value) * number for value, number in found]
    return min(max(min(hours), LEAST_H), MOST_H) if hours else None


def complexity(text: str) -> str | None:
    """The highest level a rule names; None where no rule speaks."""
    return max((value for value, _ in _found(plain(text), "complexity")), key=LEVELS.index, default=None)
