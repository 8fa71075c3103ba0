"""Bags of stems and their weights."""

import numpy as np
import pytest

from litgo_pipelines.embeddings.lexicon import Bags, Lexicon, bag
from litgo_pipelines.intake.text import words


def test_inflections_accents_and_case_share_a_stem() -> None:
    assert np.array_equal(bag("demitido DEMITIDA"), bag("Demitiram demitiu"))
    assert bag("rescisão rescisao")[1].tolist() == [2]


@pytest.mark.parametrize("text", ["", "  ", "🙂🙂", "a e o", "\u200b"])
def test_a_text_without_a_word_that_counts_is_an_empty_bag(text: str) -> None:
    assert bag(text).shape == (2, 0)


def test_a_very_long_text_counts_every_word() -> None:
    found = bag("contrato de aluguel " * 5_000)
    assert sorted(found[1].tolist()) == [5_000, 5_000]


def test_weights_are_the_usual_tfidf() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["multa do contrato de aluguel", "multa por atraso, multa e juros", "guarda dos filhos", "o"]
    usual = TfidfVectorizer(
        analyzer=lambda text: [word[:5] for word in words(text) if len(word) >= 3], sublinear_tf=True
    ).fit_transform(texts)
    bags = Bags.of([bag(text) for text in texts])
    ours = Lexicon.fit(bags).matrix(bags, np.unique(bags.stem))
    np.testing.assert_allclose((ours @ ours.T).toarray(), (usual @ usual.T).toarray(), atol=1e-6)


def test_stems_outside_the_vocabulary_still_shape_the_length() -> None:
    bags = Bags.of([bag("multa contrato")])
    lexicon = Lexicon.fit(bags)
    assert lexicon.matrix(bags, bag("multa")[0]).toarray()[0, 0] == pytest.approx(2**-0.5)
    assert lexicon.matrix(bags, np.empty(0, np.uint32)).shape == (1, 0)


def test_taking_rows_keeps_bags_whole() -> None:
    bags = Bags.of([bag("multa contrato"), bag(""), bag("guarda")])
    taken = bags.take(np.array([2, 1, 0, 2]))
    assert taken.words.tolist() == [1, 0, 2, 1]
    assert taken.stem[:1].tolist() == bag("guarda")[0].tolist() == taken.stem[-1:].tolist()
