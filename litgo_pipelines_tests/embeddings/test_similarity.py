"""S from vectors and stems: what it prefers, and what it refuses."""

import numpy as np
import pytest

from litgo_pipelines.embeddings.lexicon import Bags, bag
from litgo_pipelines.embeddings.similarity import (
    BLOCK,
    EVEN_WORDS,
    MOST_WEIGHT,
    Space,
    SpaceMismatch,
    Texts,
    calibrated,
    mean_of_best,
    similarity,
)

LONG = " ".join(f"palavra{number:03d}x"[::-1] for number in range(60))


def texts(contents: list[str], vectors: np.ndarray | None = None, model: str = "model", seed: int = 0) -> Texts:
    if vectors is None:
        vectors = np.random.default_rng(seed).normal(size=(len(contents), 8))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return Texts(model, unit.astype(np.float32), Bags.of([bag(content) for content in contents]))


@pytest.fixture
def sample() -> Texts:
    return texts([f"multa contrato numero{n} assunto{n % 7}" for n in range(50)], seed=9)


def test_stems_decide_for_a_long_text_and_vectors_for_a_short_one(sample: Texts) -> None:
    """The same two texts, one alike in words and one in meaning, asked by a long and by a short text."""
    here = np.eye(8)
    found = texts([f"{LONG} despejo", "criança guarda"], here[:2])
    space = Space(sample)
    long_query = space.scores(texts([f"{LONG} aluguel"], here[1:2]), found)[0]
    short_query = space.scores(texts(["despejo"], here[1:2]), found)[0]
    assert long_query[0] > long_query[1]
    assert short_query[1] > short_query[0]


def test_at_the_even_number_of_words_both_count_the_same(sample: Texts) -> None:
    query = texts([" ".join(f"{chr(97 + n)}lfa{n}" for n in range(int(EVEN_WORDS)))])
    assert query.bags.words[0] == EVEN_WORDS
    stems_only, vectors_only = (Space(sample, even, most=1e9).scores(query, sample) for even in (0.0, 1e9))
    both = Space(sample).scores(query, sample)
    np.testing.assert_allclose(both, (stems_only + vectors_only) / np.sqrt(2), atol=1e-4)


def test_however_few_the_words_they_keep_a_share(sample: Texts) -> None:
    query = texts(["multa contrato"])
    words_only, vectors_only = (Space(sample, even, most=1e9).scores(query, sample) for even in (0.0, 1e9))
    both = Space(sample).scores(query, sample)
    np.testing.assert_allclose(both, (words_only + MOST_WEIGHT * vectors_only) / np.hypot(1, MOST_WEIGHT), atol=1e-4)


def test_s_of_a_lawyer_is_that_of_the_three_most_similar_texts_and_missing_without_a_text(sample: Texts) -> None:
    cases, lawyers = texts(["multa do contrato", "guarda"], seed=1), texts(["um", "dois", "tres"] * 3, seed=2)
    found = similarity(Space(sample), cases, lawyers, np.array([0, 2, 2, 9, 9]))
    scores = Space(sample).scores(cases, lawyers)
    assert found.shape == (2, 4)
    np.testing.assert_allclose(found[:, 0], calibrated(scores[:, :2].mean(axis=1)), rtol=1e-5)
    np.testing.assert_allclose(found[:, 2], calibrated(np.sort(scores[:, 2:], axis=1)[:, -3:].mean(axis=1)), rtol=1e-5)
    assert np.isnan(found[:, [1, 3]]).all()
    assert ((found[:, [0, 2]] >= 0) & (found[:, [0, 2]] <= 1)).all()


def test_s_does_not_depend_on_who_else_is_in_the_batch(sample: Texts) -> None:
    cases, lawyers = texts(["multa"] * (BLOCK + 3), seed=1), texts(["contrato"] * 4, seed=2)
    whole = similarity(Space(sample), cases, lawyers, np.array([0, 1, 4]))
    last = np.array([len(cases) - 1])
    alone = similarity(Space(sample), cases.take(last), lawyers.take(np.arange(1, 4)), np.array([0, 3]))
    np.testing.assert_allclose(whole[-1, 1], alone[0, 0], atol=1e-6)


def test_nobody_has_a_text(sample: Texts) -> None:
    found = similarity(Space(sample), sample, sample.take(np.empty(0, np.int64)), np.zeros(4, np.int64))
    assert found.shape == (50, 3)
    assert np.isnan(found).all()


def test_a_text_and_itself_beats_everything(sample: Texts) -> None:
    assert (Space(sample).scores(sample, sample).argmax(axis=1) == np.arange(50)).all()


def test_a_constant_sample_gives_no_infinity(sample: Texts) -> None:
    one = sample.take(np.zeros(30, np.int64))
    assert np.isfinite(Space(one).scores(sample, sample)).all()


def test_spaces_are_never_mixed(sample: Texts) -> None:
    with pytest.raises(SpaceMismatch, match="other"):
        Space(sample).scores(texts(["multa"], model="other"), sample)
    with pytest.raises(SpaceMismatch, match="other"):
        Space(sample).scores(sample, texts(["multa"], model="other"))


def test_another_dimension_is_refused(sample: Texts) -> None:
    with pytest.raises(SpaceMismatch, match=r"\(9\)"):
        Space(sample).scores(texts(["multa"], np.ones((1, 9))), sample)
    with pytest.raises(SpaceMismatch, match="shape"):
        Texts("model", np.ones((2, 8), np.float32), Bags.of([bag("multa")]))


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 2.0])
def test_vectors_that_are_none_are_refused(value: float) -> None:
    vector = np.zeros((1, 8), np.float32)
    vector[0, 3] = value
    with pytest.raises(SpaceMismatch, match="length"):
        Texts("model", vector, Bags.of([bag("multa")]))


@pytest.mark.parametrize("starts", [[0, 2], [1, 3], [0, 3, 2]])
def test_starts_that_do_not_fit_are_refused(sample: Texts, starts: list[int]) -> None:
    with pytest.raises(ValueError, match="starts"):
        similarity(Space(sample), sample, sample.take(np.arange(3)), np.array(starts))


def test_pooling_and_calibration_keep_order_and_missing() -> None:
    scores = np.array([[-60.0, 1.0, 3.0, 60.0]], np.float32)
    found = calibrated(mean_of_best(scores, np.array([0, 1, 1, 3, 4])))[0]
    assert np.isnan(found[1])
    assert 0 <= found[0] < found[2] < found[3] <= 1
