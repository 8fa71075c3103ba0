"""Areas of law and their subareas, from `taxonomy.csv`, and how clients speak of them, from `examples.csv`. Pure.

An example without area is a text no subarea fits: other law, other business, no matter at all.
"""

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from litgo_pipelines.intake.text import fold


class Subarea(NamedTuple):
    area: str
    subarea: str


NONE = Subarea("", "")
_LAW_OF = re.compile(r"^direito (?:(?:de|do|da|das|dos) )?")


class UnknownSubarea(ValueError):
    """Area or subarea that the taxonomy does not have; the message lists what it has."""


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _rows() -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(_read("taxonomy.csv"))))


@cache
def terms() -> dict[Subarea, tuple[str, ...]]:
    """Subarea → words and phrases that speak of it."""
    return {
        Subarea(row["area"], row["subarea"]): tuple(term.strip() for term in row["terms"].split(";")) for row in _rows()
    }


def urgency_h(area: str | None, subarea: str | None) -> int | None:
    """Hours within which any case of the subarea needs a lawyer; None where its nature does not say."""
    hours = {(row["area"], row["subarea"]): row["urgency_h"] for row in _rows()}.get((area or "", subarea or ""))
    return int(hours) if hours else None


def subareas(area: str | None = None) -> list[Subarea]:
    """All of them, or those of one area."""
    return [each for each in terms() if area is None or each.area == area]


def areas() -> list[str]:
    return list(dict.fromkeys(each.area for each in terms()))


def spelling(name: str, known: Iterable[str]) -> str:
    """`name` as the taxonomy writes it, whatever its case, accents and blanks or a «Direito de» before it; as it is
    where the taxonomy does not have it."""
    wanted = _LAW_OF.sub("", " ".join(fold(name).split()))
    return next((each for each in known if fold(each) == wanted), name)


def examples() -> Iterator[tuple[Subarea, str]]:
    """(subarea or NONE, a sentence as a client writes it)."""
    for row in csv.DictReader(io.StringIO(_read("examples.csv"))):
        yield Subarea(row["area"], row["subarea"]), row["sentence"]


def find(area: str, subarea: str) -> Subarea:
    """The taxonomy's own spelling; case and accents do not matter. Raises UnknownSubarea."""
    wanted = fold(area.strip()), fold(subarea.strip())
    within = [each for each in terms() if fold(each.area) == wanted[0]]
    if not within:
        raise UnknownSubarea(f"área desconhecida: {area!r}. Áreas: {', '.join(areas())}")
    for each in within:
        if fold(each.subarea) == wanted[1]:
            return each
    known = ", ".join(each.subarea for each in within)
    raise UnknownSubarea(f"{within[0].area} não tem a subárea {subarea!r}. Subáreas: {known}")


def digest() -> str:
    """Of both files: a classifier trained on others is out of date."""
    return hashlib.sha256((_read("taxonomy.csv") + _read("examples.csv")).encode()).hexdigest()[:12]
