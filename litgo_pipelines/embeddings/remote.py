"""OpenAI embeddings, beside the local ones. Missing vectors are requested again by the next run.

Knows the database, not Dagster. A text is masked before it leaves; the local vector exists already, so a service that
fails costs nothing but its own vectors.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.database import Connection, sql
from litgo_pipelines.embeddings.models import has_words
from litgo_pipelines.embeddings.store import (
    BATCH,
    KINDS,
    PACKAGE,
    Embedded,
    Text,
    missing_texts,
    still_missing,
    withhold,
    withhold_said,
    write,
)
from litgo_pipelines.intake import sensitive
from litgo_pipelines.intake.masking import mask
from litgo_pipelines.resources.external_service import ExternalService, PermanentFailure, ServiceFailure

ABOUT_PER_TEXT = (400, 413, 422)  # a request is refused for what is in it
HARMLESS = "contrato de aluguel"  # refused too: it is not the text's fault
ASKED_AGAIN = timedelta(days=7)  # for a text at which the service broke without refusing it


class Embeds(Protocol):
    """What is needed of `resources.openai.OpenAI`."""

    @property
    def embedding_model(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    @property
    def service(self) -> ExternalService: ...

    def embed(self, texts: Sequence[str], *, deadline_seconds: float | None = None) -> NDArray[np.float32]: ...


def embed_remote(
    connection: Connection,
    openai: Embeds,
    as_of: datetime,
    *,
    kinds: Sequence[str] = KINDS,
    stays: Callable[[str], bool] = sensitive.speaks_of_it,
    deadline_seconds: float | None = None,
    batch: int = BATCH,
    progress: Callable[[int, int], None] = lambda texts, of: None,
) -> Embedded:
    """Embed what has no vector of OpenAI's model yet; each request is committed. `connection`: in no transaction.

    The first failure after retries ends the asking, counted as a fallback; with fallbacks off it is raised. A text that
    the service refuses for itself is found, recorded and left out. One run asks at a time; a second one leaves it to
    the first. `stays`: whether a text may be of a sensitive matter. Raises ValueError for a naive instant or an unknown
    model.
    """
    started = time.monotonic()
    asking = _Asking(connection, openai, as_of, deadline_seconds, stays)
    model, dimension = openai.embedding_model, openai.dimension
    empty, stopped = 0, ""
    with _alone(connection, model) as alone:
        if not alone:
            stopped = "another run is asking"
        else:
            asking.withheld += withhold(connection, as_of, kinds).total()
            asking.forget_breaks()
            missing = missing_texts(connection, model, dimension, as_of, kinds, batch, remote=True)
            for texts, of in missing:
                kept = asking.leaving([text for text in texts if has_words(text.text)])
                empty += sum(not has_words(text.text) for text in texts)
                masked = asking.masked(still_missing(connection, model, kept))

                def ask(masked: list[tuple[Text, str]] = masked) -> str:
                    asking.ask(masked)
                    return ""

                if stopped := openai.service.with_fallback(ask, str):
                    break
                progress(len(texts), of)
    return Embedded(
        model, dimension, asking.done, empty, time.monotonic() - started, asking.refused, stopped, asking.withheld
    )


@dataclass
class _Asking:
    connection: Connection
    openai: Embeds
    as_of: datetime
    deadline_seconds: float | None
    stays: Callable[[str], bool]
    done: int = 0
    refused: int = 0
    withheld: int = 0
    answers: bool = False  # to a harmless text, since one was refused

    def leaving(self, texts: list[Text]) -> list[Text]:
        """Those that say nothing of family, crime or health; the others are recorded."""
        staying = [text for text in texts if self.stays(text.text)]
        self.withheld += withhold_said(self.connection, staying, self.as_of).total()
        return [text for text in texts if text not in staying]

    def ask(self, texts: list[tuple[Text, str]]) -> None:
        """Embed (text, masked) pairs. Raises ServiceFailure for what is not the fault of one of them."""
        if not texts:
            return
        model = self.openai.embedding_model
        try:
            vectors = self._embed([masked for _, masked in texts])
        except ServiceFailure as failure:
            if not self._about_a_text(failure):
                raise
            if len(texts) > 1:
                middle = len(texts) // 2
                self.ask(texts[:middle])
                self.ask(texts[middle:])
                return
            with self.connection, self.connection.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO litgo.unembeddable_texts (text_hash, model, status, as_of) VALUES (%s, %s, %s, %s) "
                    "ON CONFLICT DO NOTHING",
                    (texts[0][0].hashed, model, failure.status or 0, self.as_of),
                )
            self.refused += 1
            return
        self.done += write(self.connection, model, [text for text, _ in texts], vectors, self.as_of, "openai")

    def _about_a_text(self, failure: ServiceFailure) -> bool:
        """Whether it is the fault of what was asked: of a refusal, or where it breaks or answers with NaN, and takes a
        harmless text all the same. Raises ServiceFailure for a refusal of that one too."""
        if isinstance(failure, PermanentFailure):
            if failure.status not in ABOUT_PER_TEXT:
                return False
            if not self.answers:
                self._embed([HARMLESS])
                self.answers = True
            return True
        if failure.reason != "invalid" and (failure.status or 0) < 500:  # it is away, slow or at a limit
            return False
        try:
            self._embed([HARMLESS])  # each time: by now it may be away
        except ServiceFailure:
            return False
        return True

    def forget_breaks(self) -> None:
        """What made it break a week ago is asked for again: it may have been chance, or is mended."""
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM litgo.unembeddable_texts "
                "WHERE model = %s AND status NOT BETWEEN 400 AND 499 AND as_of <= %s",
                (self.openai.embedding_model, self.as_of - ASKED_AGAIN),
            )

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        return self.openai.embed(texts, deadline_seconds=self.deadline_seconds)

    def masked(self, texts: Sequence[Text]) -> list[tuple[Text, str]]:
        """Each text with what may leave of it."""
        cases = {case for text in texts for case in text.case_ids}
        lawyers = {lawyer for text in texts for lawyer in text.lawyer_ids}
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(sql(PACKAGE, "names.sql"), {"case_ids": list(cases), "lawyer_ids": list(lawyers)})
            known: dict[str, list[str]] = dict(cursor.fetchall())
        found = []
        for text in texts:
            names = [name for owner in (*text.case_ids, *text.lawyer_ids) for name in known.get(owner, [])]
            found.append((text, mask(text.text, names)))
        return found


@contextmanager
def _alone(connection: Connection, model: str) -> Iterator[bool]:
    """Whether nobody else asks for the model; until the end nobody else will."""
    key = f"asking for {model}"
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (key,))
        (alone,) = cursor.fetchone()
    try:
        yield alone
    finally:
        if alone and not connection.closed:
            connection.rollback()
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (key,))
