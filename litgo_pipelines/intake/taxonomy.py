"""The areas of law and their subareas, from `taxonomy.csv`, and how clients speak of them, from `examples.csv`. Pure.

An example without area is a text no subarea fits: other law, other business, no matter at all.
"""

import csv
import hashlib
import io
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from litgo_pipelines.intake.text import fold


class Subarea(NamedTuple):
    area: str
    subarea: str


NONE = Subarea("", "")


class UnknownSubarea(ValueError):
    """Area or subarea that the taxonomy does not have; the message lists what it has."""


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def terms() -> dict[Subarea, tuple[str, ...]]:
    """Subarea → words and phrases that speak of it."""
    rows = csv.DictReader(io.StringIO(_read("taxonomy.csv")))
    return {
        Subarea(row["area"], row["subarea"]): tuple(term.strip() for term in row["terms"].split(";")) for row in rows
    }


def subareas(area: str | None = None) -> list[Subarea]:
    """All of them, or those of one area."""
    return [each for each in terms() if area is None or each.area == area]


def areas() -> list[str]:
    return list(dict.fromkeys(each.area for each in terms()))


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
