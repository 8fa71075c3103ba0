"""Local classifier: word and character n-gram TF-IDF, multinomial logistic regression, a calibrated scale. Pure.

scikit-learn fits it; a saved model is arrays only and needs numpy alone, so that a run does not pay for the import.
"""

import io
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.intake import taxonomy
from litgo_pipelines.intake.taxonomy import NONE, Subarea
from litgo_pipelines.intake.text import words

Floats = NDArray[np.floating]

VERSION = 1  # raise it when this module would train or score differently
NGRAMS = (3, 4, 5)  # characters, within a word
NGRAM_WEIGHT = 0.7
LEAST_DOCUMENTS = 2  # a term in fewer is dropped
INVERSE_REGULARISATION = 30.0
FOLDS = 5
SCALES = np.geomspace(0.25, 4, 81)
STOPWORDS = frozenset(
    words("""
    a o as os um uma uns umas de da do das dos em na no nas nos e que com por pra para pro ao aos se me meu minha meus
    minhas eu ele ela eles elas seu sua isso esse essa este esta isto foi era ser sou estou ja mais mas como quando tem
    tenho ou sobre muito so la ai ter vou quero queria preciso gostaria posso pode voce voces
    """)
)


def _terms(text: str) -> Iterator[str]:
    for word in words(text):
        if word not in STOPWORDS:
            yield word
            padded = f"_{word}_"
            for n in NGRAMS:
                yield from ("~" + padded[at : at + n] for at in range(len(padded) - n + 1))


@dataclass(frozen=True)
class Model:
    """weights (labels × terms), bias (labels), idf (terms); scale: by what calibration multiplies the logits."""

    labels: list[Subarea]
    vocabulary: dict[str, int]
    idf: Any
    weights: Any
    bias: Any
    scale: float

    def vector(self, text: str) -> tuple[list[int], Floats]:
        """(columns, values) of the text's terms: (1 + log count) · idf, of length 1."""
        return self.vector_of(Counter(_terms(text)))

    def vector_of(self, counts: Mapping[str, int]) -> tuple[list[int], Floats]:
        """The same of a text whose terms are counted already."""
        known = [term for term in counts if term in self.vocabulary]
        columns = [self.vocabulary[term] for term in known]
        values = (1 + np.log(np.array([counts[term] for term in known], float))) * self.idf[columns]
        return columns, values / (np.linalg.norm(values) or 1)

    def probabilities(self, text: str) -> dict[Subarea, float]:
        """Label → probability, NONE among them; they sum to 1. A text of unknown words gets the bias alone."""
        columns, values = self.vector(text)
        share = _softmax(self.scale * (self.weights[:, columns] @ values + self.bias))
        return dict(zip(self.labels, share.tolist(), strict=True))

    def content(self) -> bytes:
        """What `read` reads."""
        content = io.BytesIO()
        np.savez_compressed(
            content,
            labels=np.array(self.labels),
            vocabulary=np.array(list(self.vocabulary)),
            idf=self.idf,
            weights=self.weights,
            bias=self.bias,
            scale=self.scale,
        )
        return content.getvalue()

    def save(self, path: Path) -> None:
        keep(path, self.content())

    @classmethod
    def load(cls, path: Path) -> "Model":
        """Raises as `read`."""
        return cls.read(path.read_bytes())

    @classmethod
    def read(cls, content: bytes) -> "Model":
        """Never unpickles: a file with objects inside is refused with a ValueError."""
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return cls(
                [Subarea(*map(str, label)) for label in stored["labels"]],
                {str(term): column for column, term in enumerate(stored["vocabulary"])},
                stored["idf"],
                stored["weights"],
                stored["bias"],
                float(stored["scale"]),
            )


def keep(path: Path, content: bytes) -> None:
    """A file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        try:
            file.write(content)
            file.close()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def train(labelled: Sequence[tuple[Subarea, str]] = ()) -> Model:
    """A model of the taxonomy's terms and examples and the `labelled` texts of the marketplace.

    The scale makes its probabilities honest: the one under which examples are most likely that were left out of
    training, in FOLDS folds (temperature scaling, Guo et al., ICML 2017). Deterministic.
    """
    known = set(taxonomy.subareas())
    base = [(label, term) for label, found in taxonomy.terms().items() for term in (label.subarea, *found)]
    base += [(label, text) for label, text in labelled if label in known]
    counted = _counted(base)  # once, not once a fold: most of the time goes into taking texts apart
    examples = _counted(taxonomy.examples())
    seen: Counter[Subarea] = Counter()
    folds = np.array([(seen.update([label]) or seen[label]) % FOLDS for label, _ in examples])
    logits, truth = [], []
    for fold in range(FOLDS):
        model = _fit(counted + [example for example, its in zip(examples, folds, strict=True) if its != fold])
        for (label, counts), its in zip(examples, folds, strict=True):
            if its == fold:
                columns, values = model.vector_of(counts)
                logits.append(model.weights[:, columns] @ values + model.bias)
                truth.append(model.labels.index(label))
    right = np.arange(len(truth)), np.array(truth)
    scale = max(SCALES, key=lambda s: float(np.log(_softmax(s * np.array(logits))[right]).sum()))
    model = _fit(counted + examples)
    return Model(model.labels, model.vocabulary, model.idf, model.weights, model.bias, float(scale))


def _counted(rows: Iterable[tuple[Subarea, str]]) -> list[tuple[Subarea, Counter[str]]]:
    return [(label, Counter(_terms(text))) for label, text in rows]


def _fit(rows: Sequence[tuple[Subarea, Counter[str]]]) -> Model:
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    labels = [*taxonomy.subareas(), NONE]
    documents = Counter(term for _, counts in rows for term in counts)
    vocabulary = {term: at for at, term in enumerate(sorted(t for t, n in documents.items() if n >= LEAST_DOCUMENTS))}
    idf = np.array(
        [
            (math.log((1 + len(rows)) / (1 + documents[t])) + 1) * (NGRAM_WEIGHT if t[0] == "~" else 1)
            for t in vocabulary
        ]
    )
    empty = Model(labels, vocabulary, idf, None, None, 1.0)
    vectors = [empty.vector_of(counts) for _, counts in rows]
    matrix = csr_matrix(
        (
            np.concatenate([values for _, values in vectors]),
            np.concatenate([columns for columns, _ in vectors]).astype(np.int32),
            np.cumsum([0, *(len(columns) for columns, _ in vectors)]),
        ),
        shape=(len(rows), len(vocabulary)),
    )
    places = {label: place for place, label in enumerate(labels)}
    fitted = LogisticRegression(C=INVERSE_REGULARISATION, solver="saga", tol=1e-2, max_iter=200, random_state=0)
    fitted.fit(matrix, [places[label] for label, _ in rows])
    return Model(labels, vocabulary, idf, fitted.coef_.astype(np.float32), fitted.intercept_, 1.0)


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
