"""Danger found in clients' words: held-out sentences of another author, and what must never be missed."""

from pathlib import Path

import numpy as np
import pytest

from litgo_pipelines.intake import danger, measure, rules
from litgo_pipelines.intake.text import fold, meant
from litgo_pipelines.intake.triage import Case, Decision, Opinion, decide

pytestmark = pytest.mark.proof

HELD_OUT = Path(__file__).with_name("urgency_held_out.csv")


def urgency(text: str) -> Decision:
    """The decision where nothing but the text speaks: the client chose area and subarea."""
    return decide(Case("1", None, text, "Civil", "Contratos"), _nobody, 0.65)


def _nobody(text: str, possible: object) -> Opinion:
    raise AssertionError("nobody should be asked")


def test_the_figure_on_sentences_nobody_built_from() -> None:
    figures = measure.measured(danger.sentences(HELD_OUT.read_text(encoding="utf-8")))
    assert figures.danger_found >= measure.LEAST_FOUND
    assert figures.false_alarms <= measure.MOST_FALSE


@pytest.mark.parametrize(
    "text",
    [
        "Quero tirar uma dúvida: meu marido me espanca",
        "não respeita a medida protetiva",
        "sem habeas corpus meu filho continua preso",
        "SEM PRESSA, MAS MEU EX DISSE QUE VAI ME MATAR",
        "não tenho mais vontade de viver",
        "nao e urgente nao, mas fui estuprada ontem",
        "meu filho nunca fez nada e foi preso hoje de manha",
        "o plano não liberou a cirurgia do meu pai que está na UTI",
        "o pai dela nao devolveu minha filha e sumiu",
        "زوجي يضربني وهدد بقتلي الليلة",
        "我丈夫打我，今晚威胁要杀我",
        "Мій чоловік б'є мене і погрожував убити сьогодні",
        "मेरा पति मुझे मारता है",  # which the encoder hardly knows: a person looks
        "ele disse que vai s3 m@tar",
        "s3 m@tar",
        "meu ex quer me m4tar",
        "soco rro",
        "ele me b-a-t-e",
        "quero m o r r e r",
        "penso em me suicidar",
        "<p>Ele&nbsp;disse&nbsp;que&nbsp;vai&nbsp;me&nbsp;ma&shy;tar</p>",
    ],
)
def test_a_negation_or_a_soft_beginning_cancels_no_danger(text: str) -> None:
    found = urgency(text)
    assert found.urgency_h <= 12
    assert found.sources["urgency_h"] in ("rule", "text")


@pytest.mark.parametrize(
    "text",
    [
        "quero fazer um divórcio consensual no cartório",
        "comprei uma geladeira com defeito e a loja não troca",
        "tenho direito a horas extras?",
        "qual o prazo de garantia de um colchão?",
        "minha mãe faleceu e deixou uma casa para quatro irmãos",
        "O banco me deu uma facada com esses juros",
        "Quero morrer de velho na minha casa, como faço usufruto?",
        "Vou me matar de trabalhar e não recebo hora extra",
        "Хочу вернуть деньги за отменённый рейс",
        "我被公司解雇了，没有拿到工资",
        f"<img src='data:image/png;base64,{'eHh4' * 3_000}'/>Quero revisar meu contrato de aluguel",
    ],
)
def test_ordinary_matters_are_no_danger(text: str) -> None:
    assert urgency(text).urgency_h == rules.URGENCY_H


def test_few_signs_are_a_persons_to_look_at() -> None:
    unsure = danger.Danger(0.5, danger.HOURS_SIGN, True, True)
    found = decide(Case("1", None, "um relato", "Civil", "Contratos", 168), _nobody, 0.65, lambda text: unsure)
    assert (found.status, found.reason, found.urgency_h) == ("review", "danger_unsure", 12)
    assert (found.area, found.subarea) == ("Civil", "Contratos")


def test_danger_at_the_end_of_a_long_calm_text_is_found() -> None:
    calm = "Gostaria de saber sobre o contrato de aluguel da minha loja e o reajuste anual pelo índice combinado. "
    danger_told = "Meu marido me bateu ontem e disse que vai me matar se eu sair de casa. "
    for text in (calm * 12 + danger_told, calm * 500 + danger_told, calm * 300 + danger_told + calm * 300):
        assert urgency(text).urgency_h <= 12


@pytest.mark.parametrize(
    ("shares", "hours", "unsure", "life"),
    [
        ((0.05, 0.05, 0.1, 0.8), danger.HOURS_SURE, False, True),
        ((0.05, 0.05, 0.85, 0.05), danger.HOURS_SURE, False, False),
        ((0.45, 0.05, 0.1, 0.4), danger.HOURS_SIGN, True, True),
        ((0.2, 0.7, 0.05, 0.05), danger.HOURS_URGENT, False, False),
        ((0.9, 0.04, 0.03, 0.03), None, False, False),
    ],
)
def test_what_shares_come_to(shares: tuple[float, ...], hours: int | None, unsure: bool, life: bool) -> None:
    assert danger.verdict(np.array(shares))[1:] == (hours, unsure, life)


@pytest.mark.parametrize(
    "text",
    [
        "comprei 3kg por R$ 50,00 no dia 5",
        "ligue 11 98888-7777 ou ana.b@exemplo.com, 2a via, 9h20",
        "impugnaram o registro no interior do ma e a defesa vence, 1,90m, e a cada 3 meses, art. 5",
    ],
)
def test_what_disguises_no_word_is_read_as_it_is(text: str) -> None:
    assert meant(text, danger.recogniser().vocabulary) == fold(text)


@pytest.mark.parametrize("text", ["", "   ", "!!! ...", "😀😀", "\u200b"])
def test_a_text_without_a_word_says_nothing(text: str) -> None:
    assert danger.judge(text) == danger.NOTHING


def test_the_model_is_of_the_files_it_stands_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    assert danger.recogniser().vocabulary
    monkeypatch.setattr(danger, "VERSION", danger.VERSION + 1)
    with pytest.raises(RuntimeError, match=r"python -m litgo_pipelines.intake.danger"):
        danger.recogniser.__wrapped__()


@pytest.mark.slow
def test_the_same_sentences_give_the_same_model() -> None:
    again = danger.train(danger.sentences(), danger.encode)
    kept = danger.recogniser()
    assert again.vocabulary == kept.vocabulary
    text = "meu vizinho me ameaçou com uma faca"
    assert again.shares([text], danger.encode) == pytest.approx(kept.shares([text], danger.encode), abs=1e-3)
