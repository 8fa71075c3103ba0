"""Tone of comments: the lexicon alone against the shipped model, on reviews and sentences neither was built from.

    python -m benchmarks.sentiment ../shared/data/olist/olist_order_reviews_dataset.csv

Prints the table of docs/evidence.md.
"""

import csv
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from litgo_pipelines.evidence import sentiment, tone

SENTENCES = Path(__file__).parents[1] / "litgo_pipelines_tests" / "evidence" / "tone_held_out.csv"
Score = Callable[[str], float | None]


class Figures(NamedTuple):
    """`auc`: a comment without a tone counts as one half; `accuracy`: it counts as wrong."""

    auc: float
    accuracy: float


def sentences(style: str | None = None) -> list[tuple[str, bool]]:
    """(comment, praises) written by hand; `style`: client (a lawyer's) or other."""
    rows = csv.DictReader(io.StringIO(SENTENCES.read_text(encoding="utf-8")))
    return [(row["comment"], row["positive"] == "1") for row in rows if style in (None, row["style"])]


def figures(score: Score, labelled: Sequence[tuple[str, bool]]) -> Figures:
    found = [score(comment) for comment, _ in labelled]
    scores = np.array([0.5 if one is None else one for one in found])
    praised = np.array([praises for _, praises in labelled])
    low, high = np.sort(scores[~praised]), scores[praised]
    above = np.searchsorted(low, high, side="left") + np.searchsorted(low, high, side="right")
    right = (scores > 0.5) == praised
    return Figures(float(above.mean() / 2 / len(low)), float((right & (scores != 0.5)).mean()))


def main() -> None:
    held_out = tone.reviews(Path(sys.argv[1]).read_text(encoding="utf-8"))[1::2]
    sets = {
        f"{len(held_out):,} reviews of a shop": held_out,
        "200 sentences": sentences(),
        "of lawyers' clients": sentences("client"),
        "of other customers": sentences("other"),
    }
    scores: dict[str, Score] = {"lexicon": sentiment.polarity, "words, letters and lexicon": tone.tone}
    print("| | scored by | AUC | accuracy |\n|---|---|--:|--:|")
    for name, labelled in sets.items():
        for by, score in scores.items():
            found = figures(score, labelled)
            print(f"| {name} | {by} | {found.auc:.3f} | {found.accuracy:.3f} |")


if __name__ == "__main__":
    main()
