"""The tone of comments on reviews and sentences its model was not built from; and that it can be built anew."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.sentiment import figures, sentences
from litgo_pipelines.evidence import sentiment, tone

OLIST = Path(__file__).parents[3] / "shared/data/olist/olist_order_reviews_dataset.csv"
needs_olist = pytest.mark.skipif(
    not OLIST.exists(), reason="the Olist reviews are not part of this repository: ../shared/data/olist"
)


@pytest.fixture(scope="module")
def held_out() -> list[tuple[str, bool]]:
    return tone.reviews(OLIST.read_text(encoding="utf-8"))[1::2]


@needs_olist
def test_held_out_reviews_are_told_apart_better_than_by_the_lexicon(held_out: list[tuple[str, bool]]) -> None:
    lexicon, model = figures(sentiment.polarity, held_out), figures(tone.tone, held_out)
    assert len(held_out) > 3_000
    assert model.auc > lexicon.auc + 0.01
    assert model.accuracy > lexicon.accuracy + 0.01
    assert model.auc >= 0.96


def test_held_out_sentences_are_told_apart_no_worse_than_by_the_lexicon() -> None:
    written = sentences()
    assert (len(written), sum(praises for _, praises in written)) == (200, 100)
    lexicon, model = figures(sentiment.polarity, written), figures(tone.tone, written)
    assert model.accuracy >= lexicon.accuracy
    assert model.auc >= lexicon.auc - 0.01


@pytest.mark.parametrize("comment", ["", "   ", "\n\t\x00", "Processo 123/2024", "a" * 100_000, "🏛"])
def test_what_says_nothing(comment: str) -> None:
    assert tone.tone(comment) is None


@pytest.mark.parametrize(
    ("comment", "praises"),
    [
        ("excelente", True),
        ("péssimo", False),
        ("não gostei", False),
        ("Não compareceu.", False),
        ("Muuuuito booooom", True),
        ("não recomendo", False),
        ("chegou antes do prazo", True),
        ("ainda não recebi o produto", False),
        ("nÃ£o recomendo, pÃ©ssimo", False),
        ("<p>n&atilde;o&nbsp;gostei</p>", False),
        ("<p>&Oacute;timo advogado</p>", True),
        ("não poderia ser melhor", True),
        ("Não podia ter escolhido melhor", True),
        ("não existe advogada melhor", True),
        ("não tenho palavras para agradecer", True),
        ("não troco por nenhum outro", True),
        ("não é barato, mas vale cada centavo", True),
        ("Parabéns pela incompetência", False),
        ("só responde quando quer receber", False),
        ("não poderia ser pior", False),
    ],
)
def test_which_way(comment: str, praises: bool) -> None:
    found = tone.tone(comment)
    assert found is not None
    assert (found > 0.5) == praises


@needs_olist
@pytest.mark.slow
def test_the_model_of_the_package_is_what_the_command_builds() -> None:
    built = tone.train(tone.reviews(OLIST.read_text(encoding="utf-8"))[0::2])
    shipped = tone.model()
    assert built.vocabulary == shipped.vocabulary
    assert np.allclose(built.weights, shipped.weights, atol=1e-3)
    assert built.bias == pytest.approx(shipped.bias, abs=1e-3)


def test_the_version_follows_model_and_lexicon(monkeypatch: pytest.MonkeyPatch) -> None:
    before = tone.version()
    monkeypatch.setattr(tone, "MODEL", tone.MODEL + 1)
    model = tone.version()
    monkeypatch.setattr(sentiment, "RULES", sentiment.RULES + 1)
    assert len({before, model, tone.version()}) == 3
