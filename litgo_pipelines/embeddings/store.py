"""Embeddings in the database: embedding what is new, and the similarity of cases and lawyers as matching needs it.

Knows the database, not Dagster. What a similarity is, is `similarity`'s.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg2.extras import execute_values

from litgo_pipelines.database import session_lock, sql
from litgo_pipelines.embeddings import lexicon
from litgo_pipelines.embeddings.models import USE, USE_DIMENSION, Encoder, has_words
from litgo_pipelines.embeddings.similarity import Space, Texts, similarity
from litgo_pipelines.intake.text import clean

PACKAGE = "litgo_pipelines.embeddings"
LOCK = "embeddings"
BATCH = 256  # texts a transaction: what a kill loses
TEXTS_EACH = 10  # newest texts of a lawyer that are compared
SAMPLE, LEAST_SAMPLE = 1_000, 30  # texts that say what is usual; with fewer there is no similarity
FETCH = 2_000  # rows at once

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Embedded:
    """What a run came to, for one model."""

    model: str
    dimension: int
    texts: int
    without_words: int  # nothing to embed in them
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        rate = self.texts / self.seconds if self.texts else 0.0
        return {**asdict(self), "seconds": round(self.seconds, 3), "texts_per_second": round(rate, 1)}


@dataclass(frozen=True)
class Similarity:
    """S (cases, lawyers) float32 in [0, 1], NaN where either has no text; `space`: where it was computed."""

    space: str | None
    values: NDArray[np.float32]


def embed_missing(
    connection: Any,
    encoder: Encoder,
    as_of: datetime,
    *,
    batch: int = BATCH,
    progress: Callable[[int, int], None] = lambda texts, of: None,
) -> Embedded:
    """Embed every text of `sources.sql` that has no vector of the model; each batch is committed.

    One run at a time: a second one waits, and then finds nothing to do. Raises ValueError for a naive instant.
    """
    if as_of.tzinfo is None:
        raise ValueError(f"as_of must name its zone or offset: {as_of.isoformat()}")
    started, done, empty = time.monotonic(), 0, 0
    with session_lock(connection, LOCK):
        with connection.cursor() as cursor:
            cursor.execute(
                f"DECLARE missing_texts SCROLL CURSOR WITH HOLD FOR {_with_sources('missing.sql')}",
                {"as_of": as_of, "model": encoder.name, "dimension": encoder.dimension},
            )
            connection.commit()
            cursor.execute("MOVE FORWARD ALL FROM missing_texts")
            total = int(cursor.statusmessage.split()[-1])
            cursor.execute("MOVE ABSOLUTE 0 FROM missing_texts")
            while True:
                cursor.execute("FETCH %s FROM missing_texts", (batch,))
                rows = [(bytes(hashed), clean(text)) for hashed, text in cursor.fetchall()]
                kept = [(hashed, text) for hashed, text in rows if has_words(text)]
                if kept:
                    _write(cursor, encoder, kept, as_of)
                connection.commit()
                done, empty = done + len(kept), empty + len(rows) - len(kept)
                progress(len(rows), total)
                if len(rows) < batch:
                    break
            cursor.execute("CLOSE missing_texts")
        connection.commit()
    return Embedded(encoder.name, encoder.dimension, done, empty, time.monotonic() - started)


def _write(cursor: Any, encoder: Encoder, texts: Sequence[tuple[bytes, str]], as_of: datetime) -> None:
    vectors = encoder.encode_cleaned([text for _, text in texts])
    execute_values(
        cursor,
        "INSERT INTO litgo.text_embeddings (text_hash, model, dimension, vector, as_of) VALUES %s "
        "ON CONFLICT DO NOTHING",
        [
            (hashed, encoder.name, encoder.dimension, vector.astype("<f4").tobytes(), as_of)
            for (hashed, _), vector in zip(texts, vectors, strict=True)
        ],
        page_size=len(texts),
    )
    execute_values(
        cursor,
        "INSERT INTO litgo.text_stems (text_hash, version, bag) VALUES %s ON CONFLICT DO NOTHING",
        [(hashed, lexicon.VERSION, lexicon.bag(text).astype("<u4").tobytes()) for hashed, text in texts],
        page_size=len(texts),
    )


def read_similarity(
    connection: Any,
    case_ids: Sequence[str],
    lawyer_ids: Sequence[str],
    as_of: datetime,
    *,
    model: str = USE,
    dimension: int = USE_DIMENSION,
) -> Similarity:
    """S of every case with every lawyer, from what is embedded as of the instant.

    All missing, with no space, while fewer than LEAST_SAMPLE texts are embedded. Memory: 4 bytes a pair, and the
    lawyers' vectors.
    """
    missing = np.full((len(case_ids), len(lawyer_ids)), np.nan, dtype=np.float32)
    common = {"model": model, "dimension": dimension, "stems": lexicon.VERSION, "as_of": as_of, "size": SAMPLE}
    sample, _ = _read(connection, sql(PACKAGE, "sample.sql"), common)
    if len(sample) < LEAST_SAMPLE:
        return Similarity(None, missing)

    def owned(kind: str, owners: Sequence[str]) -> tuple[Texts, Ints]:
        each = 1 if kind == "case" else TEXTS_EACH
        return _read(
            connection,
            _with_sources("owned.sql"),
            {**common, "kind": kind, "owners": list(owners), "texts_each": each},
        )

    space = Space(sample)
    cases, rows = owned("case", case_ids)
    lawyers, owners = owned("lawyer", lawyer_ids)
    starts = np.searchsorted(owners, np.arange(len(lawyer_ids) + 1))
    missing[rows] = similarity(space, cases, lawyers, starts)
    return Similarity(space.name, missing)


def _read(connection: Any, query: str, parameters: dict[str, Any]) -> tuple[Texts, Ints]:
    """The texts of a query of (owner, vector, bag), and whose they are."""
    dimension = parameters["dimension"]
    owners: list[Ints] = []
    vectors: list[NDArray[np.float32]] = []
    bags: list[lexicon.Bag] = []
    with connection.cursor("texts") as cursor:
        cursor.itersize = FETCH
        cursor.execute(query, parameters)
        while rows := cursor.fetchmany(FETCH):
            owners.append(np.array([owner for owner, _, _ in rows], dtype=np.int64))
            joined = np.frombuffer(b"".join(vector for _, vector, _ in rows), dtype="<f4")
            vectors.append(joined.reshape(-1, dimension).astype(np.float32, copy=False))
            bags.extend(np.frombuffer(found, dtype="<u4").reshape(2, -1) for _, _, found in rows)
    matrix = np.concatenate([np.empty((0, dimension), np.float32), *vectors])
    return Texts(parameters["model"], matrix, lexicon.Bags.of(bags)), np.concatenate([np.empty(0, np.int64), *owners])


def _with_sources(name: str) -> str:
    return sql(PACKAGE, name).replace("{sources}", sql(PACKAGE, "sources.sql"))
