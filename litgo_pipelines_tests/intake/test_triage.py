"""One case's decision: who decides what, and that no text can make it leave its schema."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litgo_pipelines.intake import rules, taxonomy
from litgo_pipelines.intake.classifier import Model
from litgo_pipelines.intake.taxonomy import NONE, Subarea
from litgo_pipelines.intake.text import LONGEST, clean
from litgo_pipelines.intake.triage import (
    REASONS,
    Case,
    Classifier,
    Decision,
    Opinion,
    decide,
    local_opinion,
)
from litgo_pipelines_tests.worlds.intake import HOSTILE, MIN_CONFIDENCE

RESCISAO, HORAS = Subarea("Trabalhista", "Rescisão"), Subarea("Trabalhista", "Horas extras")
TEXT = "um relato com palavras bastantes"


def says(opinion: Opinion) -> Classifier:
    return lambda text, possible: opinion


def never(text: str, possible: list[Subarea]) -> Opinion:
    raise AssertionError("nobody should be asked")


def local(model: Model) -> Classifier:
    return lambda text, possible: local_opinion(model.probabilities(text), possible)


def check(decision: Decision) -> None:
    """What holds of every decision, whatever the text was."""
    assert decision.status in ("classified", "review")
    assert (decision.reason is None) == (decision.status == "classified")
    assert decision.reason in (None, *REASONS)
    if decision.status == "classified":
        assert Subarea(str(decision.area), str(decision.subarea)) in taxonomy.subareas()
    if decision.subarea and decision.area:
        assert Subarea(decision.area, decision.subarea) in taxonomy.subareas()
    assert rules.LEAST_H <= decision.urgency_h <= rules.MOST_H
    assert decision.complexity in rules.LEVELS
    present = {name for name in ("area", "subarea") if getattr(decision, name)} | {"urgency_h", "complexity"}
    assert set(decision.sources) == present
    assert all(p is None or 0 <= p <= 1 for p in (decision.area_confidence, decision.subarea_confidence))


def test_sure_of_both() -> None:
    decision = decide(Case("1", None, TEXT), says(Opinion("local", {RESCISAO: 0.9, HORAS: 0.1})), 0.65)
    check(decision)
    assert (decision.area, decision.subarea, decision.status) == ("Trabalhista", "Rescisão", "classified")
    assert decision.sources == {"area": "local", "subarea": "local", "urgency_h": "default", "complexity": "default"}
    assert (decision.urgency_h, decision.complexity) == (rules.URGENCY_H, rules.COMPLEXITY)


def test_sure_of_the_area_only() -> None:
    decision = decide(Case("1", None, TEXT), says(Opinion("local", {RESCISAO: 0.55, HORAS: 0.45})), 0.65)
    check(decision)
    assert (decision.area, decision.subarea, decision.reason) == ("Trabalhista", None, "subarea_uncertain")
    assert decision.alternatives == [(RESCISAO, 0.55), (HORAS, 0.45)]


@pytest.mark.parametrize(
    ("probabilities", "reason"),
    [({RESCISAO: 0.6, NONE: 0.4}, "area_uncertain"), ({NONE: 0.8, RESCISAO: 0.2}, "outside_taxonomy")],
)
def test_below_the_threshold_nothing_is_guessed(probabilities: dict[Subarea, float], reason: str) -> None:
    decision = decide(Case("1", None, TEXT), says(Opinion("local", probabilities)), 0.65)
    check(decision)
    assert (decision.area, decision.subarea, decision.reason) == (None, None, reason)


def test_what_the_client_chose_is_kept(model: Model) -> None:
    case = Case("1", "Divórcio", "quero me separar da minha esposa", "Família", None, 5, "LOW")
    decision = decide(case, local(model), MIN_CONFIDENCE)
    assert (decision.area, decision.subarea) == ("Família", "Divórcio")
    assert (decision.urgency_h, decision.complexity) == (5, "LOW")
    assert decision.sources == {"area": "client", "subarea": "local", "urgency_h": "client", "complexity": "client"}
    complete = decide(Case("1", "", "", "Família", "Guarda"), never, MIN_CONFIDENCE)
    assert (complete.status, complete.area, complete.subarea) == ("classified", "Família", "Guarda")
    only_subarea = decide(Case("1", "", "", None, "Guarda"), never, MIN_CONFIDENCE)
    assert (only_subarea.area, only_subarea.sources["area"]) == ("Família", "rule")


def test_a_client_in_the_wrong_area_is_not_moved(model: Model) -> None:
    decision = decide(Case("1", None, "fui demitido sem justa causa", "Família"), local(model), MIN_CONFIDENCE)
    assert decision.area == "Família"
    assert decision.sources["area"] == "client"
    assert decision.subarea in (None, *(each.subarea for each in taxonomy.subareas("Família")))


def test_an_area_of_the_marketplace_that_we_do_not_know() -> None:
    decision = decide(Case("1", None, TEXT, "Ambiental"), never, MIN_CONFIDENCE)
    assert (decision.area, decision.subarea, decision.status) == ("Ambiental", None, "classified")
    unplaced = decide(Case("1", None, TEXT, None, "Multa ambiental"), never, MIN_CONFIDENCE)
    assert (unplaced.area, unplaced.subarea, unplaced.reason) == (None, "Multa ambiental", "outside_taxonomy")


@pytest.mark.parametrize(
    ("client", "text", "openai", "urgency", "source"),
    [
        (168, "fui demitido e tenho audiência amanhã", 72, 24, "rule"),
        (4, "fui demitido e tenho audiência amanhã", 72, 4, "client"),
        (168, "fui demitido e tenho audiência amanhã", 4, 4, "openai"),
        (None, "fui demitido sem justa causa", 168, 168, "openai"),
        (24, "fui demitido e tenho audiência amanhã", None, 24, "client"),
        (0, "fui demitido sem justa causa", None, rules.URGENCY_H, "default"),
        (-3, "fui demitido e tenho audiência amanhã", None, 24, "rule"),
        (None, "só queria tirar uma dúvida, tenho audiência amanhã", None, 24, "rule"),
    ],
)
def test_the_most_urgent_source_wins(
    client: float | None, text: str, openai: int | None, urgency: float, source: str
) -> None:
    opinion = Opinion("openai", {RESCISAO: 0.9}, urgency_h=openai, complexity="HIGH")
    decision = decide(Case("1", None, text, urgency_h=client), says(opinion), 0.65)
    assert (decision.urgency_h, decision.sources["urgency_h"]) == (urgency, source)
    assert decision.sources["complexity"] == ("rule" if "dúvida" in text else "openai")


def test_a_class_that_is_danger_by_its_nature_is_urgent_by_itself() -> None:
    violence = Subarea("Criminal", "Violência doméstica")
    found = decide(Case("1", None, TEXT, urgency_h=168), says(Opinion("local", {violence: 0.9})), 0.65)
    assert (found.urgency_h, found.sources["urgency_h"]) == (12, "class")
    chosen = decide(Case("1", None, TEXT, "criminal", "VIOLENCIA DOMESTICA ", 720), never, 0.65)
    assert (chosen.urgency_h, chosen.sources["urgency_h"], chosen.sources["subarea"]) == (12, "class", "client")
    unsure = decide(Case("1", None, TEXT, urgency_h=168), says(Opinion("local", {violence: 0.5, NONE: 0.5})), 0.65)
    assert unsure.sources["urgency_h"] == "client"


@pytest.mark.parametrize("area", ["familia", "FAMÍLIA", " Família ", "Fami\u0301lia", "Direito de Família"])
def test_an_area_written_in_another_way_has_its_subareas(model: Model, area: str) -> None:
    decision = decide(Case("1", None, "quero me separar da minha esposa", area), local(model), MIN_CONFIDENCE)
    assert (decision.area, decision.subarea, decision.status) == ("Família", "Divórcio", "classified")
    assert decision.sources["area"] == "client"


@pytest.mark.parametrize("text", ["", None, "   ", "\x00\x01\x02", "oi", "ajuda!!!", "\u200b" * 50, "😀" * 1000])
def test_empty_or_too_short_goes_to_a_person(text: str | None) -> None:
    decision = decide(Case("1", None, text), never, MIN_CONFIDENCE)
    check(decision)
    assert decision.reason == "too_short"


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_stay_within_the_schema(model: Model, text: str) -> None:
    for case in (Case("1", text, text), Case("1", None, text, "Criminal"), Case("1", text, None)):
        check(decide(case, local(model), MIN_CONFIDENCE))


@settings(deadline=None, max_examples=150)
@given(st.none() | st.text(), st.none() | st.text())
def test_any_text_stays_within_the_schema(model: Model, title: str | None, description: str | None) -> None:
    check(decide(Case("1", title, description), local(model), MIN_CONFIDENCE))


@settings(deadline=None)
@given(st.text())
def test_clean_is_short_visible_and_final(text: str) -> None:
    cleaned = clean(text, text)
    assert len(cleaned) <= LONGEST
    assert not any(ord(character) < 32 for character in cleaned)
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("<p>Fui <b>dem</b>itida</p><p>sem&nbsp;justa causa</p>", "Fui demitida sem justa causa"),
        ("amea&amp;amp;ccedil;a &lt;br /&gt;grave", "ameaça grave"),
        ("<!--[if mso]><xml>x</xml><![endif]--><style>p{a:b}</style><p class=Mso>oi</p >", "oi"),
        ("{\\rtf1\\ansi{\\fonttbl{\\f0 Calibri;}}\\f0\\fs22 amea\\'e7a\\par j\\u225? feita}", "ameaça já feita"),
        ("primeira linha\\nsegunda", "primeira linha segunda"),
        ("NÃ£o me deixa sair", "Não me deixa sair"),
        ("renda < 2 salários & idade > 60, AT&T, x<y", "renda < 2 salários & idade > 60, AT&T, x<y"),
        ("“voltei AMANHÔ, a <b e c> d", "“voltei AMANHÔ, a <b e c> d"),
    ],
)
def test_a_text_is_read_as_a_person_saw_it(written: str, read: str) -> None:
    assert clean(written) == read
