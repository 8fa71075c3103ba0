"""Findings in a plain text: spans to mask, and the text in which later patterns do not see them. Pure."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from litgo_pipelines.intake.masking.plain import KEPT, TAKEN

_NUMBER = re.compile(r"(?<!\d)\d")


@dataclass
class Findings:
    """`text` and its lower case have the same length; what is taken or kept is a filler in both."""

    text: str
    low: str = ""
    spans: list[tuple[int, int, str]] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)  # signs that the text does not hold

    def __post_init__(self) -> None:
        self.low = lowered(self.text)

    def take(
        self, pattern: re.Pattern[str], placeholder: str, accept: Callable[[re.Match[str]], bool] | None = None
    ) -> None:
        """Mask each match of the pattern in the lower-case text; only its group `v` where it has one."""
        group = "v" if "v" in pattern.groupindex else 0
        found = [m.span(group) for m in pattern.finditer(self.low) if accept is None or accept(m)]
        self.take_spans([(start, end, placeholder) for start, end in found if end > start])

    def found_at(
        self, places: Iterable[int], pattern: re.Pattern[str], accept: Callable[[re.Match[str]], bool] | None = None
    ) -> list[tuple[int, int]]:
        """Spans of matches that begin at one of the places, given in ascending order; they do not overlap."""
        group = "v" if "v" in pattern.groupindex else 0
        spans: list[tuple[int, int]] = []
        last, low = 0, self.low
        for place in places:
            if place >= last and (found := pattern.match(low, place)) and (accept is None or accept(found)):
                start, end = found.span(group)
                if end > start >= last:
                    spans.append((start, end))
                    last = end
        return spans

    def take_at(
        self,
        places: Iterable[int],
        pattern: re.Pattern[str],
        placeholder: str,
        accept: Callable[[re.Match[str]], bool] | None = None,
    ) -> None:
        """Mask what `found_at` finds."""
        self.take_spans([(*span, placeholder) for span in self.found_at(places, pattern, accept)])

    @cached_property
    def numbers(self) -> list[int]:
        """Where a number begins in the text as it was, the word it stands in, a short word or a sign before it."""
        low = self.low
        places: set[int] = set()
        for found in _NUMBER.finditer(low):
            start = found.start()
            places.add(start)
            at = start
            for _ in range(2):
                least = max(at - 20, 0)
                while at > least and low[at - 1].isalnum():
                    at -= 1
                places.add(at)
                if at and low[at - 1] in " -.":
                    at -= 1
                else:
                    break
            at = start
            while at and start - at < 4 and low[at - 1] in "(+ 0x*":
                at -= 1
                places.add(at)
        return sorted(places)

    def signs(self, signs: Iterable[str]) -> list[int]:
        """Where one of the signs stands, in ascending order."""
        places: list[int] = []
        low = self.low
        for sign in signs:
            if sign in self.absent:
                continue
            place = low.find(sign)
            if place < 0:
                self.absent.add(sign)
            while place >= 0:
                places.append(place)
                place = low.find(sign, place + len(sign))
        return sorted(set(places)) if len(places) > 1 else places

    def take_spans(self, spans: list[tuple[int, int, str]]) -> None:
        self.spans += spans
        self._fill([(start, end) for start, end, _ in spans], TAKEN)

    def keep(self, spans: Iterable[tuple[int, int]]) -> None:
        """Hide what must stay from the patterns that follow."""
        self._fill(list(spans), KEPT)

    def _fill(self, spans: list[tuple[int, int]], filler: str) -> None:
        if not spans:
            return
        for name in ("text", "low"):
            text: str = getattr(self, name)
            pieces: list[str] = []
            last = 0
            for start, end in spans:
                pieces += [text[last:start], filler * (end - start)]
                last = end
            setattr(self, name, "".join([*pieces, text[last:]]))


def lowered(text: str) -> str:
    low = text.lower()
    return low if len(low) == len(text) else "".join(c if len(c.lower()) != 1 else c.lower() for c in text)
