"""Danger in a client's own words: violence, an arrest, a refused surgery, a deadline, called by its name or not.

Pure, but for the encoder it loads with the first text. One linear model on three kinds of features: the multilingual
sentence vector, word and character n-grams, and signs (`signs.csv`) with their pairs. `urgency.csv` is what it was
built from; `danger.npz` is the model, a few arrays that numpy alone reads. `python -m litgo_pipelines.intake.danger`
builds it anew; the same files give the same model.
"""

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.intake import rules
from litgo_pipelines.intake.sentences import encoder
from litgo_pipelines.intake.text import clean, fold, meant, other_script, words
from litgo_pipelines.marketplace import terms

Floats = NDArray[np.floating]

VERSION = 1  # raise it when this module would train or score differently
ENCODER, DIMENSION = "use-multilingual-v3", 512
CLASSES = ("ordinary", "urgent", "danger", "life")  # life: danger to a person's life or body
LABELS = {"normal": 0, "tricky_normal": 0, "urgent": 1, "danger": 2, "tricky_danger": 2}
NOT_LIFE = frozenset({"prisao", "saude"})  # kinds of danger in which the police's number is of no help
NGRAMS = (2, 3, 4, 5)  # characters, within a word
LEAST_DOCUMENTS = 2  # texts a character n-gram is in; words and pairs of words count from one
SIGN_WEIGHT = 0.3
INVERSE_REGULARISATION = 10.0
PIECE, OVERLAP = 60, 20  # words: a long text is also read piece by piece
HOURS_SURE, HOURS_SIGN, HOURS_URGENT = 4, 12, 24
SURE, SIGN, URGENT = 0.75, 0.42, 0.5  # shares; found on the building set alone, docs/triage.md
SIGN_OTHER = 0.1  # in another script, where the sentence vector speaks alone: ordinary matters have .03 at most in the
# languages it knows, and a person looks at what it does not

Encode = Callable[[Sequence[str]], Any]  # texts → (texts, DIMENSION) of length 1


class Danger(NamedTuple):
    """What a text says. `share`: of danger, from 0 to 1; `hours`: None where it is not urgent."""

    share: float
    hours: int | None
    unsure: bool  # signs of danger, and a person should look
    life: bool  # somebody's life or body is at risk


NOTHING = Danger(0.0, None, False, False)


def read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


class Sentence(NamedTuple):
    text: str
    label: str
    kind: str

    @property
    def number(self) -> int:
        """Of its class."""
        return LABELS[self.label] + (LABELS[self.label] == 2 and self.kind not in NOT_LIFE)


def sentences(text: str | None = None) -> list[Sentence]:
    """The building set, or what another file of its columns holds."""
    rows = csv.DictReader(io.StringIO(read("urgency.csv") if text is None else text))
    return [Sentence(row["text"], row["label"], row["kind"]) for row in rows]


@cache
def _signs() -> list[re.Pattern[str]]:
    rows = csv.DictReader(io.StringIO(read("signs.csv")))
    joined = (
        "|".join(sorted((rules.expression(p.strip()) for p in row["patterns"].split(";")), key=len)) for row in rows
    )
    return [re.compile(re.sub(r"\?P<n>", "?:", pattern)) for pattern in joined]


def digest() -> str:
    """Of everything the model depends on: one built from something else is out of date."""
    parts = (str(VERSION), ENCODER, read("urgency.csv"), read("signs.csv"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _signed(text: str) -> Floats:
    """Signs, whether each is there, and which of them are there together."""
    plain = rules.plain(text)
    counts = np.array([min(len({m.group() for m in sign.finditer(plain)}), 3) for sign in _signs()], dtype=np.float32)
    there = np.minimum(counts, 1)
    first, second = np.triu_indices(len(counts), 1)
    return SIGN_WEIGHT * np.concatenate([counts / 2, there, 0.7 * there[first] * there[second]])


def _word_terms(text: str) -> Iterator[str]:
    found = words(text)
    yield from found
    yield from (f"{a} {b}" for a, b in pairwise(found))


def _letter_terms(text: str) -> Iterator[str]:
    for word in words(text):
        padded = f"_{word}_"
        for n in NGRAMS:
            yield from ("~" + padded[at : at + n] for at in range(len(padded) - n + 1))


def variants(text: str) -> tuple[str, str]:
    """How the encoder reads a text: in lower case, with its accents and without. Both count half."""
    return text.lower(), fold(text)


@dataclass(frozen=True)
class Recogniser:
    """weights (terms + dense features, classes), bias (classes), idf (terms)."""

    vocabulary: dict[str, int]
    idf: Any
    weights: Any
    bias: Any

    def sparse(self, text: str) -> terms.Row:
        """Words with pairs of them, and letters."""
        return terms.row((_word_terms(text), _letter_terms(text)), self.vocabulary, self.idf)

    def shares(self, texts: Sequence[str], encode: Encode) -> Floats:
        """(texts, classes): how much each class is the right one; rows sum to 1. Texts hold a word each."""
        vectors = np.asarray(encode([variant for text in texts for variant in variants(text)]))
        vectors = vectors.reshape(len(texts), 2, DIMENSION).mean(axis=1)
        dense = np.hstack([vectors, [_signed(text) for text in texts]])
        logits = dense @ self.weights[len(self.vocabulary) :] + self.bias
        for row, text in enumerate(texts):
            columns, values = self.sparse(text)
            logits[row] += np.asarray(values) @ self.weights[columns] if columns else 0
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def judge(self, text: str, encode: Encode) -> Danger:
        """`text` as `clean` leaves it. The most dangerous of its pieces counts."""
        text = rules.literal(text)
        told = pieces(text)
        plain = set(map(fold, told))
        told += [piece for piece in pieces(meant(text, self.vocabulary)) if piece not in plain]
        read_as = [piece for piece in told if any(map(str.isalnum, piece))]
        if not read_as:
            return NOTHING
        shares = self.shares(read_as, encode)
        worst = int((shares[:, 2] + shares[:, 3]).argmax())
        return verdict(shares[worst], SIGN_OTHER if other_script(read_as[worst]) else SIGN)

    def save(self, path: Path) -> None:
        np.savez_compressed(
            path,
            vocabulary=np.array(list(self.vocabulary)),
            idf=self.idf.astype(np.float32),
            weights=self.weights.astype(np.float32),
            bias=self.bias,
            digest=np.array(digest()),
        )


def pieces(text: str) -> list[str]:
    """The text, and where it is long, parts of PIECE words that overlap."""
    found = text.split()
    if len(found) <= PIECE + OVERLAP:
        return [text]
    return [text, *(" ".join(found[at : at + PIECE]) for at in range(0, len(found) - OVERLAP, PIECE - OVERLAP))]


def verdict(shares: Floats, sign: float = SIGN) -> Danger:
    """What the shares of the classes come to; `sign`: the least share of danger that a person must look at."""
    danger, urgent = float(shares[2] + shares[3]), float(shares[1])
    life = danger >= sign and float(shares[3]) >= 0.25 * danger
    if danger >= SURE:
        return Danger(danger, HOURS_SURE, False, life)
    if danger >= sign:
        return Danger(danger, HOURS_SIGN, True, life)
    return Danger(danger, HOURS_URGENT if urgent >= URGENT else None, False, False)


@cache
def recogniser() -> Recogniser:
    """The model of the package. Raises RuntimeError for one that was built from other files than these."""
    with np.load(io.BytesIO(files(__package__).joinpath("danger.npz").read_bytes()), allow_pickle=False) as stored:
        if str(stored["digest"]) != digest():
            raise RuntimeError(
                "danger.npz was built from other files than urgency.csv and signs.csv are now: "
                "run `python -m litgo_pipelines.intake.danger`"
            )
        vocabulary = {str(term): column for column, term in enumerate(stored["vocabulary"])}
        return Recogniser(vocabulary, stored["idf"], stored["weights"], stored["bias"])


def encode(texts: Sequence[str]) -> Floats:
    """(texts, DIMENSION) of length 1, by the encoder the similarity uses too."""
    vectors = np.asarray(encoder().encode([text[:2_000] for text in texts]), dtype=np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def judge(text: str) -> Danger:
    """What a text says, by the package's model; a text without a word says nothing."""
    return recogniser().judge(clean(text), encode)


def train(built_from: Sequence[Sentence], encode: Encode) -> Recogniser:
    """A model of these sentences. Deterministic."""
    from scipy.sparse import csr_matrix, hstack, vstack
    from sklearn.linear_model import LogisticRegression

    texts = [clean(sentence.text) for sentence in built_from]
    documents = Counter(term for text in texts for found in (_word_terms, _letter_terms) for term in set(found(text)))
    kept = sorted(term for term, n in documents.items() if term[0] != "~" or n >= LEAST_DOCUMENTS)
    vocabulary, idf = terms.columns_of(kept, documents, len(texts))
    model = Recogniser(vocabulary, idf, None, None)
    matrix = terms.matrix([model.sparse(text) for text in texts], len(vocabulary))
    signs = np.array([_signed(text) for text in texts])
    vectors = np.asarray(encode([variant for text in texts for variant in variants(text)]))
    # each sentence twice: its vector with the accents and without
    copies = [hstack([matrix, csr_matrix(np.hstack([vectors[copy::2], signs]))]) for copy in (0, 1)]
    fitted = LogisticRegression(C=INVERSE_REGULARISATION / 2, max_iter=3000, class_weight="balanced")
    fitted.fit(vstack(copies).tocsr(), [sentence.number for sentence in built_from] * 2)
    return Recogniser(vocabulary, idf, fitted.coef_.T, fitted.intercept_)


def main() -> None:
    model = train(sentences(), encode)
    model.save(Path(__file__).with_name("danger.npz"))
    print(f"{len(model.vocabulary):,} terms of {len(sentences()):,} sentences, digest {digest()}")


if __name__ == "__main__":
    main()
