"""Bags of stems, the lexical half of the similarity. Pure.

A stem is the first five letters of a folded word: Portuguese inflects at the end. Stems are kept as 32-bit hashes, so
that a text's bag is a small array that can be stored; idf and what counts as usual come from a sample of texts.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from litgo_pipelines.intake.text import words

VERSION = "stems5"
LETTERS, SHORTEST = 5, 3  # of a stem; of a word that counts

Bag = NDArray[np.uint32]  # (2, n): hashes of stems, ascending, and how often each occurs


def bag(text: str) -> Bag:
    """The stems of a text, whatever it holds; (2, 0) for one without a word."""
    stems = Counter(crc32(word[:LETTERS].encode()) for word in words(text) if len(word) >= SHORTEST)
    return np.array(sorted(stems.items()), dtype=np.uint32).reshape(-1, 2).T


@dataclass(frozen=True)
class Bags:
    """Bags one after the other: those of text k are `starts[k]:starts[k + 1]`."""

    starts: NDArray[np.int64]
    stem: NDArray[np.uint32]
    count: NDArray[np.uint32]

    @classmethod
    def of(cls, bags: Sequence[Bag]) -> "Bags":
        starts = np.concatenate([[0], np.cumsum([b.shape[1] for b in bags], dtype=np.int64)])
        joined = np.concatenate([np.empty((2, 0), np.uint32), *bags], axis=1)
        return cls(starts.astype(np.int64), joined[0], joined[1])

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, rows: NDArray[np.int64]) -> "Bags":
        sizes = self.starts[rows + 1] - self.starts[rows]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        positions = np.arange(starts[-1]) + np.repeat(self.starts[rows] - starts[:-1], sizes)
        return Bags(starts, self.stem[positions], self.count[positions])

    @property
    def words(self) -> NDArray[np.float64]:
        """(texts,): words that count."""
        total = np.concatenate([[0], np.cumsum(self.count, dtype=np.float64)])
        return np.asarray(np.diff(total[self.starts]))


@dataclass(frozen=True)
class Lexicon:
    """Inverse document frequency of stems: ln((1 + texts) / (1 + texts with the stem)) + 1 (smoothed)."""

    texts: int
    stem: NDArray[np.uint32]  # ascending
    frequency: NDArray[np.int64]  # texts with the stem

    @classmethod
    def fit(cls, bags: Bags) -> "Lexicon":
        return cls(len(bags), *np.unique(bags.stem, return_counts=True))

    def weigh(self, bags: Bags) -> NDArray[np.float32]:
        """(stems of all bags,): (1 + ln count) · idf, each text of length 1."""
        frequency = np.zeros(len(bags.stem))
        if len(self.stem):
            at = np.minimum(np.searchsorted(self.stem, bags.stem), len(self.stem) - 1)
            frequency = np.where(self.stem[at] == bags.stem, self.frequency[at], 0).astype(float)
        weight = (1 + np.log(bags.count)) * (math.log(1 + self.texts) - np.log(1 + frequency) + 1)
        square = np.concatenate([[0], np.cumsum(weight**2)])
        length = np.sqrt(np.diff(square[bags.starts]))
        return np.asarray(weight / np.repeat(length, np.diff(bags.starts)), dtype=np.float32)

    def matrix(self, bags: Bags, vocabulary: NDArray[np.uint32]) -> csr_matrix:
        """(texts, stems of the vocabulary): the weights; stems outside of it shape the lengths only."""
        weight = self.weigh(bags)
        at = np.minimum(np.searchsorted(vocabulary, bags.stem), max(len(vocabulary) - 1, 0))
        kept = vocabulary[at] == bags.stem if len(vocabulary) else np.zeros(len(bags.stem), bool)
        starts = np.concatenate([[0], np.cumsum(kept)])[bags.starts]
        return csr_matrix((weight[kept], at[kept], starts), shape=(len(bags), len(vocabulary)))
