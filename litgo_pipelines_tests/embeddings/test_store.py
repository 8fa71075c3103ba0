"""Embeddings in the database: once each, batch by batch, and the similarity that matching reads."""

import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import psycopg2
import pytest

from litgo_pipelines.database import open_connection
from litgo_pipelines.embeddings import store
from litgo_pipelines.embeddings.lexicon import Bags, bag
from litgo_pipelines.embeddings.models import BadVectors, Encoder
from litgo_pipelines.embeddings.similarity import Space, Texts, similarity
from litgo_pipelines.embeddings.store import embed_missing, read_similarity
from litgo_pipelines.intake.text import clean
from litgo_pipelines_tests.worlds.embeddings import AS_OF, market
from litgo_pipelines_tests.worlds.rows import Marketplace
from litgo_pipelines_tests.worlds.sessions import kept

DIMENSION = 16


def vectors(texts: Sequence[str]) -> np.ndarray:
    """Made from the letters: the same text has the same vector."""
    found = np.array([[1 + text.count(chr(97 + n)) for n in range(DIMENSION)] for text in texts], dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


class Model:
    """Counts what it is asked; `fail_at`: the call that breaks."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.seen: list[str] = []
        self.calls, self.fail_at = 0, fail_at

    def run(self, texts: Sequence[str], batch: int) -> np.ndarray:
        self.calls += 1
        if self.calls == self.fail_at:
            raise RuntimeError("killed")
        self.seen += texts
        return vectors(texts)

    def encoder(self, name: str = "letters") -> Encoder:
        return Encoder(name, DIMENSION, self.run)


def embed(url: str, encoder: Encoder, **options: Any) -> store.Embedded:
    connection = open_connection(url)
    try:
        return embed_missing(connection, encoder, AS_OF, **options)
    finally:
        connection.close()


def rows_of(url: str) -> list[tuple]:
    with kept(url) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT model, dimension, octet_length(vector) FROM litgo.text_embeddings ORDER BY 1, text_hash")
        return cursor.fetchall()


def similar(url: str, cases: Sequence[str], lawyers: Sequence[str], **options: Any) -> store.Similarity:
    with kept(url) as connection, connection:
        return read_similarity(connection, cases, lawyers, AS_OF, **{"model": "letters", **options})


def test_every_text_is_embedded_once_and_a_changed_one_again(database_url: str) -> None:
    cases, _ = market(database_url)
    model = Model()
    assert embed(database_url, model.encoder()).texts == 56
    assert rows_of(database_url) == [("letters", DIMENSION, 4 * DIMENSION)] * 56
    assert embed(database_url, model.encoder()).texts == 0
    assert len(model.seen) == 56
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute("UPDATE cases SET description = 'agora outra coisa' WHERE id = %s", (cases[0],))
        cursor.execute(
            "UPDATE cases SET title = c.title, description = c.description FROM cases c "
            "WHERE c.id = %s AND cases.id = %s",
            (cases[1], cases[2]),
        )
    assert embed(database_url, model.encoder()).texts == 1
    assert model.seen[-1] == "caso 0 agora outra coisa"


def test_models_are_kept_apart(database_url: str) -> None:
    market(database_url)
    embed(database_url, Model().encoder())
    assert embed(database_url, Model().encoder("other")).texts == 56
    assert {model for model, *_ in rows_of(database_url)} == {"letters", "other"}
    with (
        kept(database_url) as connection,
        connection,
        connection.cursor() as cursor,
        pytest.raises(psycopg2.IntegrityError),
    ):
        cursor.execute("INSERT INTO litgo.text_embeddings VALUES (sha256('x'), 'letters', 17, '\\x00', now())")


def test_a_broken_batch_loses_itself_only(database_url: str) -> None:
    market(database_url)
    with pytest.raises(RuntimeError, match="killed"):
        embed(database_url, Model(fail_at=3).encoder(), batch=20)
    assert len(rows_of(database_url)) == 40
    rest = Model()
    assert embed(database_url, rest.encoder(), batch=20).texts == len(rest.seen) == 16


def test_two_runs_at_once_embed_each_text_once(database_url: str) -> None:
    market(database_url)
    models = [Model(), Model()]
    runs = [
        threading.Thread(target=embed, args=(database_url, model.encoder()), kwargs={"batch": 8}) for model in models
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert sum(len(model.seen) for model in models) == 56
    assert len(rows_of(database_url)) == 56


def test_progress_says_how_many_of_how_many(database_url: str) -> None:
    market(database_url)
    told: list[tuple[int, int]] = []
    embed(database_url, Model().encoder(), batch=20, progress=lambda texts, of: told.append((texts, of)))
    assert told == [(20, 56), (20, 56), (16, 56)]


def test_vectors_that_are_none_are_not_stored(database_url: str) -> None:
    market(database_url)
    with pytest.raises(BadVectors):
        embed(database_url, Encoder("broken", 4, lambda texts, batch: np.full((len(texts), 4), np.nan)))
    assert rows_of(database_url) == []


def test_whose_texts_are_embedded(database_url: str) -> None:
    with kept(database_url) as connection, connection:
        rows = Marketplace(connection, AS_OF)
        rows.case(title="espera", description=None)
        rows.case(title="atribuído", status="assigned")
        rows.case(title="depois", created_at=AS_OF + timedelta(hours=1))
        for text in (None, "", " \n", "🙂🙂", "漢字だけ"):
            rows.case(description=text)
        rows.case(description="x" * 100_000)
        concluded, running = (
            rows.case(title="concluído", status="closed"),
            rows.case(title="corre", status="in_progress"),
        )
        lawyer = rows.lawyer(
            curriculo_json={"resumo": "sou trabalhista", "pareceres": ["p um", {"texto": "p dois"}, 3]}
        )
        rows.lawyer(curriculo_json={"pareceres": "nenhuma lista"})
        rows.contract(concluded, lawyer, status="closed")
        rows.contract(running, lawyer)
    model = Model()
    found = embed(database_url, model.encoder())
    assert sorted(model.seen) == ["concluído", "espera", "p dois", "p um", "sou trabalhista", "x" * 10_000]
    assert (found.texts, found.without_words) == (6, 1)  # the ideographs: no word of ours


def test_a_naive_instant_is_refused(database_url: str) -> None:
    with kept(database_url) as connection, connection, pytest.raises(ValueError, match="zone"):
        embed_missing(connection, Model().encoder(), AS_OF.replace(tzinfo=None))


def test_similarity_is_the_formula_on_the_newest_ten_texts(database_url: str) -> None:
    cases, lawyers = market(database_url)
    embed(database_url, Model().encoder())
    found = similar(database_url, cases[:3], lawyers)
    assert found.space == "stems5+letters"
    assert found.values.shape == (3, 6)
    assert np.isnan(found.values[:, 5]).all()
    assert np.isfinite(found.values[:, :5]).all()

    def texts(contents: list[str]) -> Texts:
        cleaned = [clean(content) for content in contents]
        return Texts("letters", vectors(cleaned), Bags.of([bag(content) for content in cleaned]))

    every = [f"caso {n}\nmulta do contrato numero {n}" for n in range(40)]
    past = [f"despejo por atraso, apartamento {n}" for n in range(16)]
    newest = texts(past[2:12])
    expected = similarity(Space(texts([*every, *past])), texts(every[:3]), newest, np.array([0, 10]))
    np.testing.assert_allclose(found.values[:, :1], expected, atol=1e-5)


def test_the_order_asked_for_is_the_order_answered(database_url: str) -> None:
    cases, lawyers = market(database_url)
    embed(database_url, Model().encoder())
    there, back = similar(database_url, cases, lawyers), similar(database_url, cases[::-1], lawyers[::-1])
    np.testing.assert_allclose(there.values, back.values[::-1, ::-1], atol=1e-6)


def test_without_enough_texts_there_is_no_similarity(database_url: str) -> None:
    cases, lawyers = market(database_url)
    nothing = similar(database_url, cases, lawyers)
    assert nothing.space == store.NO_SPACE
    assert nothing.values.shape == (40, 6)
    assert np.isnan(nothing.values).all()


def test_a_case_that_is_not_embedded_has_no_similarity_and_no_other_space_helps(database_url: str) -> None:
    cases, lawyers = market(database_url)
    embed(database_url, Model().encoder())
    with kept(database_url) as connection, connection:
        late = Marketplace(connection, AS_OF).case(title="chegou agora")
    embed(database_url, Model().encoder("other"))
    found = similar(database_url, [cases[0], late], lawyers)
    assert np.isfinite(found.values[0, :5]).all()
    assert np.isnan(found.values[1]).all()
    assert similar(database_url, cases, lawyers, model="none").space == store.NO_SPACE


def test_vectors_broken_in_the_database_are_refused(database_url: str) -> None:
    cases, lawyers = market(database_url)
    embed(database_url, Model().encoder())
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute("UPDATE litgo.text_embeddings SET vector = decode(repeat('ff', 64), 'hex')")  # NaN
    with pytest.raises(ValueError, match="not finite"):
        similar(database_url, cases, lawyers)
