"""Retrieval quality of a similarity, and the questions used to monitor it. Pure."""

import csv
from collections.abc import Callable, Sequence
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.embeddings.similarity import Space, Texts
from litgo_pipelines.intake import taxonomy


def precision(
    scores: NDArray[np.floating], same: NDArray[np.bool_], k: int, *, themselves: bool = False
) -> NDArray[np.float64]:
    """(queries,): share of the k best of each row that are of the query's kind; `themselves`: query k is text k, which
    is not to be found."""
    if themselves:
        scores = scores.copy()
        np.fill_diagonal(scores, -np.inf)
    found = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.asarray(np.take_along_axis(same, found, axis=1).mean(axis=1))


def lay_questions() -> tuple[list[str], list[str]]:
    """(questions, areas): 160 short questions in a layperson's words, 16 per area."""
    text = files("litgo_pipelines.embeddings").joinpath("lay_questions.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return [row["question"] for row in rows], [row["area"] for row in rows]


def described() -> tuple[list[str], list[str]]:
    """(areas, each with its subareas as a text to find)."""
    areas = taxonomy.areas()
    return areas, [f"{area}: {', '.join(each.subarea for each in taxonomy.subareas(area))}" for area in areas]


def lay_precision(encode: Callable[[Sequence[str]], Texts]) -> float:
    """Share of the lay questions whose most similar area is theirs; what is usual is taken from the questions."""
    questions, wanted = lay_questions()
    areas, texts = described()
    asked = encode(questions)
    same = np.array(wanted)[:, None] == np.array(areas)
    return float(precision(Space(asked).scores(asked, encode(texts)), same, 1).mean())
