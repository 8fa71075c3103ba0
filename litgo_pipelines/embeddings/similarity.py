"""Text similarity: shared words and vectors combined into the ranking feature S. Pure.

Vectors alone miss terms of art (court summaries), words alone miss a layperson's way to say it. Both are made
comparable for each query text (z-scores against a sample of texts) and added; the shorter the query, the more the
vector counts. How it was chosen and what it reaches: `benchmarks/text_similarity.py`, docs/similarity.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Ints
from litgo_pipelines.embeddings.lexicon import VERSION, Bags, Lexicon

EVEN_WORDS = 20.0  # words of a query at which both count the same; the weight of vectors falls with their cube
MOST_WEIGHT = 4.0  # of vectors beside words: in a few words of a lawyer's language the words themselves say most
OFFSET, SLOPE = -6.2, 3.2  # S = 1 / (1 + exp(−OFFSET − SLOPE · score)): chance of a shared theme at even odds
LEAST_DEVIATION = 0.02  # of similarities; words the sample hardly has would make any match extreme
BEST = 3  # of a lawyer's texts: one may be alike by chance, the average blurs a speciality
BLOCK = 64  # queries at once: bounds the memory

Floats = NDArray[Any]  # computed in double precision


class SpaceMismatch(ValueError):
    """Vectors of two models, or of another dimension than the model's, or none at all."""


@dataclass(frozen=True)
class Texts:
    """Texts as columns: unit vectors (n, d) float32 of one model, and bags of stems (n)."""

    model: str
    vectors: NDArray[np.float32]
    bags: Bags

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.bags):
            raise SpaceMismatch(f"vectors of shape {self.vectors.shape} for {len(self.bags)} texts")
        length = np.einsum("ij,ij->i", self.vectors, self.vectors)
        if not (np.abs(length - 1) < 1e-3).all():  # NaN and infinity too
            raise SpaceMismatch(f"a vector of {self.model} is not finite or not of length 1")

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: Ints) -> "Texts":
        return Texts(self.model, self.vectors[rows], self.bags.take(rows))


class Space:
    """Where similarities are comparable: one model and a sample of the texts that are searched."""

    def __init__(self, sample: Texts, even_words: float = EVEN_WORDS, most: float = MOST_WEIGHT) -> None:
        self.model, self.dimension = sample.model, sample.vectors.shape[1]
        self.sample, self.even_words, self.most = sample, even_words, most
        self.lexicon = Lexicon.fit(sample.bags)

    @property
    def name(self) -> str:
        """What is recorded with a similarity."""
        return f"{VERSION}+{self.model}"

    def scores(self, queries: Texts, texts: Texts) -> Floats:
        """(queries, texts): (z of words + w · z of vectors) / √(1 + w²), w = min((even_words / words of it)³, most).

        In double precision, so that a pair's score, rounded, is the same in any company. Memory: 16 bytes per pair and
        as much again, 8 bytes a number of the vectors, so pass few at once. Raises SpaceMismatch for other vectors.
        """
        for given in (queries, texts):
            if (given.model, given.vectors.shape[1]) != (self.model, self.dimension):
                raise SpaceMismatch(
                    f"{given.model} ({given.vectors.shape[1]}) is not {self.model} ({self.dimension} dimensions)"
                )
        vocabulary = np.unique(queries.bags.stem)
        asked = self.lexicon.matrix(queries.bags, vocabulary)
        found, usual = (self.lexicon.matrix(t.bags, vocabulary) for t in (texts, self.sample))
        lexical = _z(*((asked @ other.T).toarray().astype(np.float64) for other in (found, usual)))
        asking = queries.vectors.astype(np.float64)
        dense = _z(asking @ texts.vectors.T, asking @ self.sample.vectors.T)
        weight = np.minimum((self.even_words / np.maximum(queries.bags.words, 1))[:, None] ** 3, self.most)
        lexical *= 1 / np.hypot(1, weight)
        dense *= weight / np.hypot(1, weight)
        lexical += dense
        return lexical


def _z(values: Floats, sample: Floats) -> Floats:
    """In place: values by mean and standard deviation of their row of the sample."""
    values -= sample.mean(axis=1, keepdims=True)
    values /= np.maximum(sample.std(axis=1, keepdims=True), LEAST_DEVIATION)
    return values


def mean_of_best(scores: Floats, starts: Ints, most: int = BEST) -> Floats:
    """(queries, texts) → (queries, lawyers): mean score of the lawyer's `most` most similar texts, of all where there
    are fewer; NaN without a text. Memory: 8 bytes per query, lawyer and text of the lawyer with the most."""
    size = np.diff(starts)
    place = np.arange(max(size.max(initial=0), most))
    padded = np.append(scores, np.full((len(scores), 1), -np.inf), axis=1)
    rows = np.where(place < size[:, None], starts[:-1, None] + place, scores.shape[1])
    top = np.partition(padded[:, rows], -most, axis=2)[:, :, -most:]
    count = np.where(size > 0, np.minimum(size, most), np.nan)
    return np.asarray(np.where(np.isfinite(top), top, 0).sum(axis=2) / count)


def calibrated(scores: Floats) -> Floats:
    """S in [0, 1] from scores, NaN stays NaN."""
    return np.asarray(1 / (1 + np.exp(-OFFSET - SLOPE * np.clip(scores, -20, 20))))


def similarity(
    space: Space,
    cases: Texts,
    lawyers: Texts,
    starts: Ints,
    progress: Callable[[int], None] = lambda cases: None,
) -> NDArray[np.float32]:
    """S of every case with every lawyer, (cases, lawyers) float32; NaN for a lawyer without a text.

    The texts of lawyer k are rows `starts[k]:starts[k + 1]` of `lawyers`. Raises SpaceMismatch as `Space.scores`.
    """
    if starts[0] != 0 or starts[-1] != len(lawyers) or (np.diff(starts) < 0).any():
        raise ValueError("starts must rise from 0 to the number of texts")
    found = np.empty((len(cases), len(starts) - 1), dtype=np.float32)
    for first in range(0, len(cases), BLOCK):
        rows = np.arange(first, min(first + BLOCK, len(cases)))
        found[rows] = calibrated(mean_of_best(space.scores(cases.take(rows), lawyers), starts))
        progress(len(rows))
    return found
