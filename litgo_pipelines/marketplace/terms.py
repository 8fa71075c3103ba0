"""Terms of a text as the columns of a linear model: document frequencies, and a sparse row per text. Pure.

Which terms a text has, words or letters of them, is the model's affair.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Row = tuple[list[int], list[float]]  # columns, values


def columns_of(
    kept: Sequence[str], documents: Mapping[str, int], texts: int
) -> tuple[dict[str, int], NDArray[np.float64]]:
    """(term → column, inverse document frequency of each column), in the order of `kept`; documents: term → in how many
    of the `texts` it is."""
    idf = np.array([np.log((1 + texts) / (1 + documents[term])) + 1 for term in kept])
    return {term: column for column, term in enumerate(kept)}, idf


def row(kinds: Iterable[Iterable[str]], vocabulary: Mapping[str, int], idf: NDArray[np.floating]) -> Row:
    """A text's known terms, each kind of them a block of length 1: (1 + ln count) · idf."""
    columns: list[int] = []
    values: list[float] = []
    for terms in kinds:
        counts = Counter(term for term in terms if term in vocabulary)
        at = [vocabulary[term] for term in counts]
        block = (1 + np.log(np.fromiter(counts.values(), float, len(counts)))) * idf[at]
        columns += at
        values += (block / (np.linalg.norm(block) or 1)).tolist()
    return columns, values


def matrix(rows: Sequence[Row], width: int) -> "csr_matrix":
    """The rows (texts, width)."""
    from scipy.sparse import csr_matrix

    return csr_matrix(
        (
            np.concatenate([values for _, values in rows]),
            np.concatenate([np.array(columns, dtype=np.int32) for columns, _ in rows]),
            np.cumsum([0, *(len(columns) for columns, _ in rows)]),
        ),
        shape=(len(rows), width),
    )
