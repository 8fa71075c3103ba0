"""The lexicon on comments written by hand, on what it promises one by one, and on real reviews of a shop."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.evidence import sentiment
from litgo_pipelines.evidence.sentiment import LONGEST, polarity, tokens, version

HERE = Path(__file__).parent
OLIST = HERE.parents[2] / "shared/data/olist/olist_order_reviews_dataset.csv"
with (HERE / "comments.csv").open(encoding="utf-8", newline="") as file:
    COMMENTS = list(csv.DictReader(file))


def score(comment: str) -> float:
    found = polarity(comment)
    assert found is not None, comment
    return found


def neutral(tone: float | None) -> float:
    return 0.5 if tone is None else tone


# Lexicon and rules were chosen with the first half in sight; what the second half says is what to expect.
@pytest.mark.parametrize(("part", "at_least"), [("choose", 39), ("report", 34)])
def test_hand_written_comments(part: str, at_least: int) -> None:
    mine = [row for row in COMMENTS if row["part"] == part]
    assert len(mine) == 40
    right = {"1": lambda tone: tone > 0.5, "0": lambda tone: tone < 0.5}
    wrong = [c["comment"] for c in mine if not right[c["positive"]](neutral(polarity(c["comment"])))]
    assert len(mine) - len(wrong) >= at_least, wrong


@pytest.mark.parametrize(
    ("comment", "praises"),
    [
        ("não gostei", False),
        ("nao gostei", False),
        ("NÃO GOSTEI", False),
        ("na\u0303o gostei", False),
        ("n gostei", False),
        ("gostei", True),
        ("nada a reclamar", True),
        ("Não tenho nada a reclamar.", True),
        ("não foi ruim", True),
        ("sem falhas", True),
        ("nunca foi atencioso nem educado", False),
        ("Não compareceu.", False),
        ("Não, foi ótimo", True),  # a comma ends the negation
        ("péssimo 😍", False),
        ("😍😍", True),
        ("👎🏽", False),
        ("Muuuuito booooom", True),
        ("caro, mas excelente", True),
        ("excelente, mas caro e lento", False),
        ("Apesar da demora e da confusão, gostei", True),
        ("Boa tarde, péssimo", False),
        ("Não só atencioso como competente", True),
    ],
)
def test_which_way(comment: str, praises: bool) -> None:
    assert (score(comment) > 0.5) == praises


def test_how_much() -> None:
    assert score("não gostei") < score("não foi ruim") < score("foi bom") < score("foi muito bom") <= score("excelente")
    assert score("péssimo") < score("ruim") < score("um pouco ruim") < 0.5
    assert score("bom demais") > score("bom")
    assert score("bom, mas demorado") < score("demorado, mas bom")


@pytest.mark.parametrize("comment", ["", "   ", "\n\t\x00\x07", "Processo 123/2024", "a" * 100_000, "Boa tarde", "🏛"])
def test_what_says_nothing(comment: str) -> None:
    assert polarity(comment) is None


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    assert score("ótimo " * 20_000) == 1
    assert score("péssimo " + "x " * LONGEST + "ótimo " * 100) < 0.2


@given(
    st.text(max_size=300) | st.lists(st.sampled_from(["não", "bom", "ruim", "mas", ",", "muito", "😡"])).map(" ".join)
)
def test_any_text_gives_a_score_or_none(comment: str) -> None:
    found = polarity(comment)
    assert found is None or 0 <= found <= 1
    assert found == polarity(comment.upper().lower())


def test_tokens_have_no_accents_and_no_stretched_letters() -> None:
    assert tokens("Ótimooo!! Não, 10/10 👍🏽") == ["otimo", "!!", "nao", ",", "10", "/", "10", "👍"]


def test_the_version_follows_lexicon_and_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    before = version()
    monkeypatch.setattr(sentiment, "RULES", sentiment.RULES + 1)
    rules = version()
    monkeypatch.setattr(sentiment, "_lexicon", lambda: sentiment.Lexicon({}, {}, {}, "other"))
    assert len({before, rules, version()}) == 3


def test_every_line_of_the_lexicon_is_reached_as_it_is_written() -> None:
    """No accents or capitals that folding takes away, no kind that nobody knows, no term twice."""
    text = (Path(sentiment.__file__).parent / "lexicon.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    terms = [row["term"] for row in rows]
    assert len(set(terms)) == len(terms)
    for row in rows:
        assert " ".join(tokens(row["term"])) == row["term"].replace("*", " *").strip(), row
        assert row["kind"] in {"opinion", "negator", "intensifier", "contrast", "concession", "filler"}
        assert (float(row["weight"]) != 0) == (row["kind"] in {"opinion", "intensifier"}), row


@pytest.mark.skipif(
    not OLIST.exists(), reason="the Olist reviews are not part of this repository: ../shared/data/olist"
)
def test_real_reviews_of_a_shop_are_told_apart() -> None:
    """AUC of four stars and more against two and less, on the half that the lexicon was not chosen with."""
    with OLIST.open(encoding="utf-8", newline="") as source:
        rows = [(r["review_comment_message"], int(r["review_score"])) for r in csv.DictReader(source)]
    kept = [(comment, stars) for comment, stars in rows if comment and stars != 3][1::2]
    assert len(kept) > 3_000
    scores = np.array([neutral(polarity(comment)) for comment, _ in kept])
    praised = np.array([stars >= 4 for _, stars in kept])
    above = np.searchsorted(np.sort(scores[~praised]), scores[praised], side="left")
    not_below = np.searchsorted(np.sort(scores[~praised]), scores[praised], side="right")
    assert (above + not_below).mean() / 2 / (~praised).sum() >= 0.93
