"""Tone of a client's comment: the lexicon, and a linear model of words and letters trained on a shop's reviews. Pure.

The lexicon knows what its author thought of; the model what customers write, with their stars as truth. Its features
are runs of one to three words, letters within words, and the lexicon's own score, so that it learns how far to trust
it. `tone.npz` holds the model, arrays that numpy alone reads. `python -m litgo_pipelines.evidence.tone FILE` builds it
from the reviews in even places; docs/evidence.md has its figures on the others.
"""

import csv
import hashlib
import io
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from litgo_pipelines.evidence import sentiment
from litgo_pipelines.marketplace import markup, terms

MODEL = 2  # raise it when this module would train or score differently
LONGEST = 2_000  # characters of a comment: beyond, nobody changes his mind
WORDS, LETTERS = (1, 2, 3), (2, 3, 4, 5)
LEAST_WORDS, LEAST_LETTERS = 2, 3  # comments a run of words, of letters, is in
LEXICON_WEIGHT = 2.0  # of the lexicon's score among the features
TRUST = 2.0  # in the lexicon beyond what a shop's reviews teach: lawyers' clients use words that customers do not
INVERSE_REGULARISATION = 1.0
SURE = 0.75  # without a word of the lexicon's, the model must be as sure, either way
DECIMALS = 3


def _word_terms(tokens: Sequence[str]) -> Iterator[str]:
    for n in WORDS:
        for at in range(len(tokens) - n + 1):
            yield " ".join(tokens[at : at + n])


def _letter_terms(tokens: Sequence[str]) -> Iterator[str]:
    for token in tokens:
        padded = f"_{token}_"
        for n in LETTERS:
            yield from ("~" + padded[at : at + n] for at in range(len(padded) - n + 1))


def _leaning(comment: str) -> float:
    """The lexicon's score from -1 to 1; 0 where it has none."""
    found = sentiment.polarity(comment)
    return 0.0 if found is None else 2 * found - 1


@dataclass(frozen=True)
class Model:
    """weights (terms, then the lexicon's), idf (terms)."""

    vocabulary: dict[str, int]
    idf: Any
    weights: Any
    bias: float
    digest: str

    def sparse(self, tokens: Sequence[str]) -> terms.Row:
        """Words and letters."""
        return terms.row((_word_terms(tokens), _letter_terms(tokens)), self.vocabulary, self.idf)

    def score(self, comment: str) -> float | None:
        """0 (blames) … 1 (praises); None when the comment says nothing either way."""
        comment = markup.shown(comment[:LONGEST])
        tokens, leaning = sentiment.tokens(comment), _leaning(comment)
        columns, values = self.sparse(tokens)
        logit = float(np.asarray(values) @ self.weights[columns]) if columns else 0.0
        logit += self.bias + (float(self.weights[-1]) * LEXICON_WEIGHT + TRUST) * leaning
        share = 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))
        known = sum(token in self.vocabulary for token in tokens)
        if sentiment.polarity(comment) is None and (known < 3 or 1 - SURE < share < SURE):
            return None
        return round(share, DECIMALS)

    def save(self, path: Path) -> None:
        np.savez_compressed(
            path,
            vocabulary=np.array(list(self.vocabulary)),
            idf=self.idf.astype(np.float32),
            weights=self.weights.astype(np.float32),
            bias=np.array(self.bias),
        )


@cache
def model() -> Model:
    """The model of the package."""
    content = files(__package__).joinpath("tone.npz").read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        vocabulary = {str(term): column for column, term in enumerate(stored["vocabulary"])}
        digest = hashlib.sha256(content).hexdigest()[:12]
        return Model(vocabulary, stored["idf"], stored["weights"], float(stored["bias"]), digest)


def version() -> str:
    """Of lexicon, rules and model: comments scored by another one are scored again."""
    return f"{MODEL}-{model().digest}-{sentiment.version()}"


def tone(comment: str) -> float | None:
    """0 (blames) … 1 (praises); None when the comment says nothing either way, by the package's model."""
    return model().score(comment)


def reviews(text: str) -> list[tuple[str, bool]]:
    """(comment, praised) of a file of reviews; three stars are neither."""
    rows = csv.DictReader(io.StringIO(text))
    found = [(row["review_comment_message"], int(row["review_score"])) for row in rows]
    return [(comment, stars > 3) for comment, stars in found if comment and stars != 3]


def train(labelled: Iterable[tuple[str, bool]]) -> Model:
    """A model of these comments. Deterministic."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.linear_model import LogisticRegression

    read = [(comment[:LONGEST], praised) for comment, praised in labelled]
    rows = [(sentiment.tokens(comment), _leaning(comment), praised) for comment, praised in read]
    documents = Counter(
        term for tokens, *_ in rows for found in (_word_terms, _letter_terms) for term in set(found(tokens))
    )
    kept = sorted(t for t, n in documents.items() if n >= (LEAST_LETTERS if t[0] == "~" else LEAST_WORDS))
    vocabulary, idf = terms.columns_of(kept, documents, len(rows))
    empty = Model(vocabulary, idf, None, 0.0, "")
    matrix = terms.matrix([empty.sparse(tokens) for tokens, *_ in rows], len(vocabulary))
    leanings = csr_matrix(LEXICON_WEIGHT * np.array([[leaning] for _, leaning, _ in rows]))
    fitted = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=3000, class_weight="balanced")
    fitted.fit(hstack([matrix, leanings]).tocsr(), [praised for *_, praised in rows])
    return Model(vocabulary, idf, fitted.coef_[0], float(fitted.intercept_[0]), "")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m litgo_pipelines.evidence.tone olist_order_reviews_dataset.csv")
    half = reviews(Path(sys.argv[1]).read_text(encoding="utf-8"))[0::2]
    trained = train(half)
    trained.save(Path(__file__).with_name("tone.npz"))
    print(f"{len(trained.vocabulary):,} terms of {len(half):,} comments")


if __name__ == "__main__":
    main()
