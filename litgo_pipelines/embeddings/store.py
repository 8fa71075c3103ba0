"""Embeddings in the database: embed new texts, and read the similarity of cases and lawyers for matching.

Knows the database, not Dagster. What a similarity is, is `similarity`'s; what a service embeds, is `remote`'s.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from psycopg2.extras import execute_values

from litgo_pipelines.arrays import Ints
from litgo_pipelines.database import Connection, Cursor, advisory_lock, in_transaction, session_lock, sql
from litgo_pipelines.embeddings import lexicon
from litgo_pipelines.embeddings.models import USE, USE_DIMENSION, Encoder, has_words
from litgo_pipelines.embeddings.similarity import Space, Texts, similarity
from litgo_pipelines.intake import sensitive
from litgo_pipelines.intake.text import clean
from litgo_pipelines.observability.metrics import add, count

PACKAGE = "litgo_pipelines.embeddings"
LOCK = "embeddings"
BATCH = 256  # texts per transaction: what a kill loses
TEXTS_EACH = 10  # newest texts of a lawyer that are compared
SAMPLE, LEAST_SAMPLE = 1_000, 30  # texts that say what is usual; with fewer there is no similarity
FETCH = 2_000  # rows at once
LAWYERS = 250  # whose vectors are in memory at once
KINDS = ("case", "lawyer")  # whose texts there are
NO_SPACE = ""
EVERYTHING = 2**63 - 1  # as a watermark


@dataclass(frozen=True)
class Text:
    """A text as `clean` leaves it, the hash it is stored under, and whose it is."""

    hashed: bytes
    text: str
    case_ids: list[str]
    lawyer_ids: list[str]


@dataclass(frozen=True)
class Embedded:
    """What a run came to, for one model. `stopped`: why a service was not asked for the rest."""

    model: str
    dimension: int
    texts: int
    without_words: int  # nothing to embed in them
    seconds: float
    refused: int = 0
    stopped: str = ""
    withheld: int = 0  # new among those that stay here

    def as_dict(self) -> dict[str, str | int | float]:
        rate = self.texts / self.seconds if self.texts else 0.0
        return {**asdict(self), "seconds": round(self.seconds, 3), "texts_per_second": round(rate, 1)}


@dataclass(frozen=True)
class Similarity:
    """S (cases, lawyers) float32 in [0, 1], NaN where either has no text; `space`: where it was computed."""

    space: str
    values: NDArray[np.float32]


def embed_missing(
    connection: Connection,
    encoder: Encoder,
    as_of: datetime,
    *,
    kinds: Sequence[str] = KINDS,
    batch: int = BATCH,
    progress: Callable[[int, int], None] = lambda texts, of: None,
) -> Embedded:
    """Embed every text of `sources.sql` that has no vector of the model; each batch is committed.

    Of two runs at once each waits for the other's batch only, and no text is embedded twice. Raises ValueError for a
    naive instant.
    """
    started, done, empty = time.monotonic(), 0, 0
    for texts, of in missing_texts(connection, encoder.name, encoder.dimension, as_of, kinds, batch):
        with session_lock(connection, f"{LOCK} {encoder.name}"):
            kept = [text for text in still_missing(connection, encoder.name, texts) if has_words(text.text)]
            vectors = encoder.encode_cleaned([text.text for text in kept])
            done += write(connection, encoder.name, kept, vectors, as_of, "local")
        empty += sum(not has_words(text.text) for text in texts)
        progress(len(texts), of)
    return Embedded(encoder.name, encoder.dimension, done, empty, time.monotonic() - started)


def missing_texts(
    connection: Connection,
    model: str,
    dimension: int,
    as_of: datetime,
    kinds: Sequence[str] = KINDS,
    batch: int = BATCH,
    *,
    remote: bool = False,
) -> Iterator[tuple[list[Text], int]]:
    """(batch of texts without a vector of the model, how many there are in all), as of now and in no transaction.

    `remote`: only those that may go to another company.
    """
    if as_of.tzinfo is None:
        raise ValueError(f"as_of must name its zone or offset: {as_of.isoformat()}")
    with connection, connection.cursor() as cursor:
        cursor.execute("CLOSE ALL")  # what an interrupted caller left
        cursor.execute(
            f"DECLARE missing_texts SCROLL CURSOR WITH HOLD FOR {_with_sources('missing.sql')}",
            {**_leaving(remote), "as_of": as_of, "model": model, "dimension": dimension, "kinds": list(kinds)},
        )
        cursor.execute("MOVE FORWARD ALL FROM missing_texts")
        total = int(cursor.statusmessage.split()[-1])
        cursor.execute("MOVE ABSOLUTE 0 FROM missing_texts")
    for _ in range(0, total, batch):
        with connection, connection.cursor() as cursor:
            cursor.execute("FETCH %s FROM missing_texts", (batch,))
            rows = cursor.fetchall()
        yield [Text(bytes(hashed), clean(text), *owners) for hashed, text, *owners in rows], total
    with connection, connection.cursor() as cursor:
        cursor.execute("CLOSE missing_texts")


def still_missing(connection: Connection, model: str, texts: Sequence[Text]) -> list[Text]:
    """Those that nobody has embedded meanwhile."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT text_hash FROM litgo.text_embeddings WHERE model = %s AND text_hash = ANY(%s)",
            (model, [text.hashed for text in texts]),
        )
        there = {bytes(hashed) for (hashed,) in cursor.fetchall()}
    return [text for text in texts if text.hashed not in there]


def write(
    connection: Connection,
    model: str,
    texts: Sequence[Text],
    vectors: NDArray[np.float32],
    as_of: datetime,
    source: Literal["local", "openai"],
) -> int:
    """Store vectors and stems, counted, in one transaction: how many were new. vectors: (texts, dimension)."""
    if not texts:
        return 0
    rows = [
        (text.hashed, model, len(vector), vector.astype("<f4").tobytes(), as_of)
        for text, vector in zip(texts, vectors, strict=True)
    ]
    bags = [(text.hashed, lexicon.VERSION, lexicon.bag(text.text).astype("<u4").tobytes()) for text in texts]

    def work(cursor: Cursor) -> int:
        advisory_lock(cursor, f"{LOCK} sequence")  # until the commit, so that sequence has the order of commits
        execute_values(
            cursor,
            "INSERT INTO litgo.text_embeddings (text_hash, model, dimension, vector, as_of) VALUES %s "
            "ON CONFLICT DO NOTHING",
            rows,
            page_size=len(rows),
        )
        new = int(cursor.rowcount)
        execute_values(
            cursor,
            "INSERT INTO litgo.text_stems (text_hash, version, bag) VALUES %s ON CONFLICT DO NOTHING",
            bags,
            page_size=len(bags),
        )
        add(cursor, [count("embedding_source_total", new, source=source)])
        return new

    return in_transaction(connection, work)


def count_missing(cursor: Cursor, model: str, dimension: int, as_of: datetime) -> int:
    """How many texts lack a vector of a service's model, without those it refuses or must not get."""
    cursor.execute(
        f"SELECT count(*) FROM ({_with_sources('missing.sql')}) m",
        {**_leaving(remote=True), "as_of": as_of, "model": model, "dimension": dimension, "kinds": list(KINDS)},
    )
    return int(cursor.fetchone()[0])


def not_embedded_yet(cursor: Cursor, case_ids: Sequence[str], as_of: datetime, within: timedelta) -> set[str]:
    """The cases that came within a time before the instant and whose text has no local vector yet."""
    cursor.execute(
        _with_sources("unembedded.sql"),
        {"case_ids": list(case_ids), "as_of": as_of, "since": as_of - within, "model": USE, "dimension": USE_DIMENSION},
    )
    return {case_id for (case_id,) in cursor.fetchall()}


def watermark(cursor: Cursor) -> int:
    """What is embedded now; what comes later has a higher `sequence`."""
    cursor.execute("SELECT coalesce(max(sequence), 0) FROM litgo.text_embeddings")
    return int(cursor.fetchone()[0])


def best_model(
    cursor: Cursor, case_ids: Sequence[str], lawyer_ids: Sequence[str], as_of: datetime, until: int, preferred: str
) -> str:
    """`preferred` when all that is compared has its vectors, counting those up to the watermark; else the local one."""
    dimension = _dimension(cursor, preferred)
    if dimension is None:
        return USE
    values = {"model": preferred, "dimension": dimension, "local": USE, "as_of": as_of, "watermark": until}
    cursor.execute(
        "SELECT count(*) FROM (SELECT FROM litgo.text_embeddings WHERE model = %(model)s AND dimension = %(dimension)s "
        "AND as_of <= %(as_of)s AND sequence <= %(watermark)s LIMIT %(size)s) e",
        {**values, "size": LEAST_SAMPLE},
    )
    if cursor.fetchone()[0] < LEAST_SAMPLE:
        return USE
    owners = {"case_ids": list(case_ids), "lawyer_ids": list(lawyer_ids), "texts_each": TEXTS_EACH}
    cursor.execute(_with_sources("complete.sql"), {**values, **owners})
    return preferred if cursor.fetchone()[0] else USE


def model_of(space: str) -> str:
    """The model whose vectors a space has."""
    return space.removeprefix(f"{lexicon.VERSION}+")


def read_similarity(
    connection: Connection,
    case_ids: Sequence[str],
    lawyer_ids: Sequence[str],
    as_of: datetime,
    *,
    model: str = USE,
    until: int = EVERYTHING,
) -> Similarity:
    """S of every case with every lawyer by the vectors of one model, from what is embedded as of the instant and up to
    the watermark `until`. In one transaction; raises what the database raises, and SpaceMismatch for broken vectors.

    All missing, with no space, while fewer than LEAST_SAMPLE texts are embedded. Memory: 4 bytes per pair, the sample's
    and the cases' vectors, and those of LAWYERS lawyers.
    """
    missing = np.full((len(case_ids), len(lawyer_ids)), np.nan, dtype=np.float32)
    with connection.cursor() as cursor:
        dimension = USE_DIMENSION if model == USE else _dimension(cursor, model)
    if dimension is None:
        return Similarity(NO_SPACE, missing)
    common = {
        "model": model,
        "dimension": dimension,
        "stems": lexicon.VERSION,
        "as_of": as_of,
        "watermark": until,
        "size": SAMPLE,
    }
    sample, _ = _read(connection, sql(PACKAGE, "sample.sql"), common)
    if len(sample) < LEAST_SAMPLE:
        return Similarity(NO_SPACE, missing)

    def owned(kind: str, owners: Sequence[str]) -> tuple[Texts, Ints]:
        each = 1 if kind == "case" else TEXTS_EACH
        return _read(
            connection,
            _with_sources("owned.sql"),
            {**common, "kind": kind, "owners": list(owners), "texts_each": each},
        )

    space = Space(sample)
    cases, rows = owned("case", case_ids)
    for first in range(0, len(lawyer_ids), LAWYERS):
        some = lawyer_ids[first : first + LAWYERS]
        lawyers, owners = owned("lawyer", some)
        starts = np.searchsorted(owners, np.arange(len(some) + 1))
        missing[rows, first : first + len(some)] = similarity(space, cases, lawyers, starts)
    return Similarity(space.name, missing)


def _dimension(cursor: Cursor, model: str) -> int | None:
    cursor.execute("SELECT dimension FROM litgo.text_embeddings WHERE model = %s LIMIT 1", (model,))
    row = cursor.fetchone()
    return row and int(row[0])


def _read(connection: Connection, query: str, parameters: dict[str, Any]) -> tuple[Texts, Ints]:
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
    text = sql(PACKAGE, name).replace("{sources}", sql(PACKAGE, "sources.sql"))
    return text.replace("{may_leave}", sql(PACKAGE, "may_leave.sql"))


def _leaving(remote: bool) -> dict[str, object]:
    return {"remote": remote, "open": sorted(sensitive.open_keys())}


def withhold(connection: Connection, as_of: datetime, kinds: Sequence[str] = KINDS) -> Counter[str]:
    """Bring the list of texts that stay here up to date: reason → how many are new on it, counted."""

    def work(cursor: Cursor) -> Counter[str]:
        advisory_lock(cursor, f"{LOCK} withheld")
        cursor.execute(_with_sources("withhold.sql"), {**_leaving(True), "as_of": as_of, "kinds": list(kinds)})
        return _count_withheld(cursor, Counter(dict(cursor.fetchall())))

    return in_transaction(connection, work)


def withhold_said(connection: Connection, texts: Sequence[Text], as_of: datetime) -> Counter[str]:
    """Put texts on that list for what they say, counted."""

    def work(cursor: Cursor) -> Counter[str]:
        execute_values(
            cursor,
            "INSERT INTO litgo.withheld_texts (text_hash, reason, as_of) VALUES %s ON CONFLICT DO NOTHING",
            [(text.hashed, "text", as_of) for text in texts],
            page_size=len(texts),
        )
        return _count_withheld(cursor, Counter({"text": int(cursor.rowcount)}))

    return in_transaction(connection, work) if texts else Counter()


def forget_withdrawn(connection: Connection, models: Sequence[str], *, waiting_only: bool = False) -> int:
    """Delete a service's vectors of texts whose person does not consent any more, and say how many there were.

    `waiting_only`: of cases that wait for offers; else of everybody's texts, whatever became of the case.
    """

    def work(cursor: Cursor) -> int:
        cursor.execute(sql(PACKAGE, "forget_withdrawn.sql"), {"models": sorted(models), "waiting_only": waiting_only})
        return int(cursor.rowcount)

    return in_transaction(connection, work)


def _count_withheld(cursor: Cursor, found: Counter[str]) -> Counter[str]:
    add(cursor, [count("openai_withheld_total", n, use="embedding", reason=reason) for reason, n in found.items() if n])
    return +found
