"""Word lists of masking, from the text files beside it. Pure.

`words.txt` holds, by section: words of kinship, role and treatment before a name; words that say a name follows; what
may stand between them; institutions whose name may be a person's; and words that are no name though they look like one.
"""

from functools import cache
from importlib.resources import files
from typing import NamedTuple


@cache
def words(section: str) -> frozenset[str]:
    """A section of `words.txt`. Raises KeyError for one that is not there."""
    found: dict[str, set[str]] = {}
    here: set[str] = set()
    for line in _lines("words.txt"):
        if line.startswith("["):
            here = found.setdefault(line.strip("[]"), set())
        else:
            here.update(line.split())
    return frozenset(found[section])


def _lines(name: str) -> list[str]:
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


class Lists(NamedTuple):
    sure: frozenset[str]  # given names that are nothing else
    given: frozenset[str]
    sure_surnames: frozenset[str]
    surnames: frozenset[str]
    places: dict[str, tuple[tuple[str, ...], ...]]  # first word → places, longest first
    any: frozenset[str]

    def either(self, word: str) -> bool:
        return word in self.any


@cache
def lists() -> Lists:
    given = [name for line in _lines("given_names.txt") for name in line.split()]
    surnames = [name for line in _lines("surnames.txt") for name in line.split()]
    by_first: dict[str, tuple[tuple[str, ...], ...]] = {}
    for place in sorted((tuple(line.split()) for line in _lines("cities.txt")), key=len, reverse=True):
        by_first[place[0]] = (*by_first.get(place[0], ()), place)
    return Lists(
        frozenset(name for name in given if not name.endswith("?")),
        frozenset(name.rstrip("?") for name in given),
        frozenset(name for name in surnames if not name.endswith("?")),
        frozenset(name.rstrip("?") for name in surnames),
        by_first,
        frozenset(name.rstrip("?") for name in (*given, *surnames)),
    )
