"""Figures on urgency: how much danger is found, and how often an ordinary sentence is mistaken for it.

`litgo triagem medir FILE` prints them for a file with the columns text, label and kind.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from litgo_pipelines.intake import danger, rules
from litgo_pipelines.intake.danger import Sentence
from litgo_pipelines.intake.text import clean
from litgo_pipelines.intake.triage import shortest

DANGER_H = 12  # at most so many hours: taken for danger
TARGET_FOUND, TARGET_FALSE = 0.97, 0.05
LEAST_FOUND, MOST_FALSE = 0.90, 0.09  # below these the model has become worse than it was when it was measured
ORDINARY, DANGEROUS = ("normal", "tricky_normal"), ("danger", "tricky_danger")


@dataclass(frozen=True)
class UrgencyFigures:
    """label → (sentences, of them taken for danger, of them for urgent or danger)."""

    labels: dict[str, tuple[int, int, int]]

    def _share(self, labels: Sequence[str]) -> float:
        found = [self.labels[label] for label in labels if label in self.labels]
        return sum(taken for _, taken, _ in found) / max(sum(number for number, _, _ in found), 1)

    @property
    def danger_found(self) -> float:
        return self._share(DANGEROUS)

    @property
    def false_alarms(self) -> float:
        return self._share(ORDINARY)

    def markdown(self) -> str:
        rows = [
            f"| {label} | {number} | {taken} | {taken / number:.3f} | {urgent / number:.3f} |"
            for label, (number, taken, urgent) in sorted(self.labels.items())
        ]
        heading = ["| label | sentences | taken for danger | share | urgent or danger |", "|---|--:|--:|--:|--:|"]
        total = f"danger found {self.danger_found:.3f}, false alarms {self.false_alarms:.3f}"
        return "\n".join([*heading, *rows, "", total])


def text_urgency(text: str) -> float:
    """Hours by rules and model alone, as triage has them where nobody else speaks."""
    text = clean(text)
    return shortest(rule=rules.urgency_h(text), text=danger.judge(text).hours)[1]


def measured(held_out: Sequence[Sentence], hours: Callable[[str], float] = text_urgency) -> UrgencyFigures:
    labels: dict[str, tuple[int, int, int]] = {}
    for sentence in held_out:
        number, taken, urgent = labels.get(sentence.label, (0, 0, 0))
        found = hours(sentence.text)
        labels[sentence.label] = number + 1, taken + (found <= DANGER_H), urgent + (found < rules.URGENCY_H)
    return UrgencyFigures(labels)
