"""S in a batch: where it comes from, which space it is of, and that it is frozen with the batch."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litgo_pipelines.database import open_connection
from litgo_pipelines.embeddings import store
from litgo_pipelines.embeddings.models import USE, USE_DIMENSION, Encoder
from litgo_pipelines.embeddings.similarity import SpaceMismatch
from litgo_pipelines.learning import snapshot
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines.models import training_data
from litgo_pipelines.models.features import KEYS
from litgo_pipelines.models.ranking import Ranker
from litgo_pipelines_tests.worlds.matching import AS_OF, MINUTE, fill, killed_match, match, offers
from litgo_pipelines_tests.worlds.processes import killed
from litgo_pipelines_tests.worlds.sessions import ask, kept

OPENAI = Plan().embedding_model
TEXTS = """
UPDATE cases SET description = CASE WHEN id = md5('case 1')::uuid THEN 'guarda de filhos' ELSE
    'multa do contrato de aluguel ' || substr(id::text, 1, 6) END;
INSERT INTO cases (id, client_id, area, status, description, created_at)
SELECT md5('past ' || i)::uuid, md5('client 1')::uuid, 'Civil', 'closed',
       CASE WHEN i %% 2 = 0 THEN 'despejo por multa do aluguel ' ELSE 'guarda dos filhos e pensão ' END || i,
       %(as_of)s::timestamptz - interval '90 days'
FROM generate_series(1, 40) i;
INSERT INTO contracts (case_id, lawyer_id, client_id, status, created_at)
SELECT md5('past ' || i)::uuid, md5('lawyer ' || 1 + i %% 20)::uuid, md5('client 1')::uuid, 'closed',
       %(as_of)s::timestamptz - interval '80 days'
FROM generate_series(1, 40) i;
"""


def letters(texts: Any, batch: int) -> np.ndarray:
    return np.array([np.bincount(np.frombuffer(text.encode(), np.uint8), minlength=USE_DIMENSION) for text in texts])


def embed(url: str, model: str = USE, texts: int | None = None) -> None:
    """By a quick model of that name; `texts`: only so many of them."""
    connection = open_connection(url)
    try:
        for batch, _ in store.missing_texts(connection, model, USE_DIMENSION, AS_OF):
            vectors = Encoder(model, USE_DIMENSION, letters).encode([text.text for text in batch[:texts]])
            store.write(connection, model, batch[:texts], vectors, AS_OF, "local")
    finally:
        connection.close()


@pytest.fixture
def url(database_url: str) -> str:
    fill(database_url)
    ask(database_url, TEXTS, {"as_of": AS_OF})
    return database_url


def recorded(url: str) -> list[tuple[Any, ...]]:
    return ask(url, "SELECT similarity_space, similarity_watermark > 0 FROM litgo.matching_batches ORDER BY batch_id")


def test_who_did_such_cases_has_a_higher_s_and_who_did_none_the_pools_mean(url: str) -> None:
    embed(url)
    match(url, Plan(exploration=0))
    assert recorded(url) == [(f"stems5+{USE}", True)]
    found = {
        (case, lawyer): (float(features["S"]), "S" in breakdown["imputed"])
        for case, lawyer, _, _, _, features, breakdown in offers(url)
    }
    assert {imputed for _, imputed in found.values()} == {True, False}
    assert all(0 <= s <= 1 and s == round(s, 3) for s, _ in found.values())
    guarda = {ask(url, "SELECT md5('lawyer ' || %s)::uuid::text", (n,))[0][0] for n in range(2, 21, 2)}
    (case,) = (row[0] for row in ask(url, "SELECT md5('case 1')::uuid::text"))
    considered = ask(url, "SELECT considered FROM litgo.matchings WHERE case_id = %s", (case,))[0][0]
    measured = {e["lawyer_id"]: e["features"]["S"] for e in considered if "S" not in e["imputed"]}
    assert min([s for who, s in measured.items() if who in guarda], default=1) >= max(
        [s for who, s in measured.items() if who not in guarda], default=0
    )


class Recorder:
    """A model that keeps what it is given."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def predict(self, frame: Any) -> np.ndarray:
        self.seen.append(frame.to_numpy())
        return np.linspace(-1, 1, len(frame))


def plain(rows: np.ndarray) -> list[bytes]:
    """Each row's bytes, with one kind of NaN."""
    return [np.where(np.isnan(row), np.nan, row).tobytes() for row in rows.astype(np.float64)]


def test_what_is_learned_from_is_what_the_ranker_was_given_s_included_byte_by_byte(url: str, tmp_path: Path) -> None:
    embed(url)
    model = Recorder()
    match(url, Plan(exploration=0.5), ranker=Ranker(model, "7", KEYS))
    given = Counter(plain(np.concatenate(model.seen)))
    assert len(given) > 0.8 * given.total()  # nearly each pair is one of its kind
    with kept(url) as connection, connection, connection.cursor() as cursor:
        written = snapshot.write_snapshot(cursor, AS_OF + timedelta(days=3), 0.2, tmp_path)
    parts = [training_data.read_rows(written.path, split) for split in training_data.SPLITS]
    assert parts[0].names == KEYS
    learned = np.concatenate([part.features for part in parts])
    assert len(learned) == len(offers(url)) > 20
    measured = learned[:, KEYS.index("S")]
    assert np.isfinite(measured).all()
    assert len(np.unique(measured)) > 5
    assert Counter(plain(learned)) <= given


@pytest.mark.parametrize(("texts", "space"), [(None, OPENAI), (51, USE), (20, USE)])
def test_the_better_space_serves_only_where_it_is_complete(url: str, texts: int | None, space: str) -> None:
    embed(url)
    embed(url, OPENAI, texts)
    match(url)
    assert recorded(url) == [(f"stems5+{space}", True)]


@pytest.mark.parametrize(("whose", "space"), [("past 1", OPENAI), ("case 1", USE)])
def test_a_text_that_is_refused_is_left_out_for_a_lawyer_but_not_for_a_case(url: str, whose: str, space: str) -> None:
    embed(url)
    embed(url, OPENAI)
    refused = """
        WITH refused AS (
            DELETE FROM litgo.text_embeddings e USING cases c
            WHERE e.model = %(model)s AND c.id = md5(%(whose)s)::uuid
              AND e.text_hash = sha256(convert_to(c.description, 'UTF8'))
            RETURNING e.text_hash
        )
        INSERT INTO litgo.unembeddable_texts SELECT text_hash, %(model)s, 400, now() FROM refused RETURNING 1
    """
    assert ask(url, refused, {"model": OPENAI, "whose": whose}) == [(1,)]
    match(url)
    assert recorded(url) == [(f"stems5+{space}", True)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 5])
def test_a_killed_batch_is_finished_with_the_vectors_it_began_with(
    url: str, another_url: Callable[[], str], number: int
) -> None:
    calm = another_url()
    fill(calm)
    ask(calm, TEXTS, {"as_of": AS_OF})
    for each in (url, calm):
        embed(each, texts=45)
    match(calm, Plan(exploration=0.3))
    killed(killed_match, url, AS_OF, "before", number)
    embed(url)  # the rest, and a better space
    embed(url, OPENAI)
    (left,) = match(url, Plan(exploration=0), as_of=AS_OF + timedelta(hours=3))
    assert (left.matched, left.space) == (12 - number, f"stems5+{USE}")
    assert offers(url) == offers(calm)


def test_a_case_that_has_just_come_waits_for_its_vector_but_not_for_long(url: str) -> None:
    embed(url)
    ask(url, "UPDATE cases SET description = 'novo', created_at = %s WHERE id = md5('case 2')::uuid", (AS_OF - MINUTE,))
    assert [result.matched for result in match(url)] == [11]
    assert match(url, as_of=AS_OF + MINUTE / 2) == []
    assert [result.matched for result in match(url, as_of=AS_OF + 2 * MINUTE)] == [1]


def test_vectors_that_cannot_be_read_are_no_missing_similarity(url: str) -> None:
    embed(url)
    ask(url, "UPDATE litgo.text_embeddings SET vector = decode(repeat('ff', 2048), 'hex')")
    with pytest.raises(SpaceMismatch):
        match(url)
    assert offers(url) == []
