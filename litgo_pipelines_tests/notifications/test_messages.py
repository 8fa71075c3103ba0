"""What people read: good Portuguese, their own dates and money, nothing that is another's."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from litgo_pipelines.contracts.requests import REASONS
from litgo_pipelines.notifications.contract_words import REFUSED
from litgo_pipelines.notifications.messages import (
    LONGEST_PUSH,
    TITLES,
    Item,
    sentence,
    ttl_seconds,
    words,
)
from litgo_pipelines.notifications.wording import day, instant, money

NOON = datetime(2026, 1, 31, 15, tzinfo=UTC)  # 12:00 in São Paulo
CASE = {"area": "Família", "subarea": "Guarda", "complexity": "HIGH"}


def offer(hours: int = 0, **facts: Any) -> Item:
    return Item("offer", {"expires_at": (NOON + timedelta(hours=hours)).isoformat()}, {**CASE, **facts})


EVERY = [
    offer(),
    Item("contract_to_sign", {"contract_id": "c1"}, {"fee_model": {"type": "fixed", "value": 5000}}),
    Item("contract_manual", {"contract_id": "c1", "due_at": NOON.isoformat()}, {}),
    Item("contract_signed", {"contract_id": "c1"}, {}),
    Item("contract_voided", {"contract_id": "c1", "reason": "declined"}, {}),
    Item("contract_reminder", {"contract_id": "c1", "due_at": NOON.isoformat(), "method": "docusign"}, {}),
    Item("contract_overdue", {"contract_id": "c1", "due_at": NOON.isoformat()}, {}),
    Item("contract_refused", {"contract_id": "c1", "reason": "fee_value_invalid"}, {}),
    Item("docusign_fails", {"code": "consent_required"}, {}),
    Item("model_promoted", {"version": "7", "previous": "6", "reason": "NDCG@10 +6,1 %"}, {}),
    Item("model_rolled_back", {"version": "6", "previous": "7", "reason": "menos aceites"}, {}),
    Item("promotion_frozen", {"reason": "duas reversões em uma semana."}, {}),
    Item("experiment_halted", {"experiment": "e3", "reason": "latência"}, {}),
    Item("case_waits", {"case_id": "k1", "reason": "nobody", "since": NOON.isoformat()}, {}),
    Item("case_waits", {"case_id": "k1", "reason": "rounds_over", "since": NOON.isoformat()}, {"area": "Civil"}),
    Item("case_review", {"case_id": "k1"}, {}),
    Item("case_without_contract", {"case_id": "k1"}, {}),
    Item("case_repeats", {"case_id": "k1", "of_case_id": "k2"}, {}),
    Item("state_unknown", {"table": "cases", "rows": 1200, "state": "on hold"}, {}),
    Item("lawyers_interested", {"case_id": "k1"}, {}),
    Item("address_bad", {"person_id": "p1", "why": "bounces"}, {}),
    Item("message_dead", {"message_id": 7, "about": "offer"}, {}),
    Item("case_failed", {"case_id": "k1", "since": NOON.isoformat()}, {}),
    Item("public_numbers", {"case_id": "k1"}, {}),
    Item("rows_gone", {"table": "lawyers", "rows": 400, "before": 1200, "counted_at": NOON.isoformat()}, {}),
    Item(
        "run_failed",
        {"run_id": "r1", "job_name": "matching", "tries": 1, "steps": [], "owner": "team:data-engineering"},
        {},
    ),
]


def test_an_offer() -> None:
    said = words([offer()], "Ana Souza")
    assert said.title == "Nova oferta de caso"
    assert said.push == (
        "Um caso espera sua resposta. Área: Família (Guarda). Complexidade alta. Responda até "
        "31/01/2026 12:00 (horário de Brasília)."
    )
    assert said.subject == "LITGO: nova oferta de caso"
    assert said.text.startswith("Olá, Ana!\n\nUm caso espera sua resposta.")
    assert "Souza" not in said.text


def test_an_offer_of_which_little_is_known() -> None:
    found = sentence(offer(area=None, subarea=None, complexity=None))
    assert found == "Um caso espera sua resposta. Responda até 31/01/2026 12:00 (horário de Brasília)."


def test_several_offers_are_one_message_with_the_first_term() -> None:
    said = words([offer(5), offer(2), offer(9)])
    assert said.title == "3 novas ofertas de casos"
    assert (
        said.push
        == "3 novas ofertas de casos esperam sua resposta, a primeira até 31/01/2026 14:00 (horário de Brasília)."
    )
    assert said.text.count("Responda até") == 3


def test_every_kind_has_words_alone_and_together() -> None:
    assert {item.kind for item in EVERY} == set(TITLES)
    for item in EVERY:
        said = words([item])
        assert 0 < len(said.push) <= LONGEST_PUSH
        assert sentence(item) in said.text
        assert ".." not in said.text
    together = words([*EVERY, offer()])
    assert together.title == f"{len(EVERY) + 1} novidades na LITGO"
    assert together.push.startswith("Telefones públicos, 24 horas: 190, 192, 180, 188. 2 novas ofertas de casos; ")
    assert len(together.push) == LONGEST_PUSH
    assert together.push.endswith("…")


def test_every_reason_a_contract_is_refused_for_has_words() -> None:
    assert set(REFUSED) == set(REASONS)
    for reason in REASONS:
        item = Item("contract_refused", {"contract_id": "c1", "reason": reason}, {})
        assert sentence(item, team=True) != sentence(item)


def test_the_team_is_told_which_contract_and_the_parties_are_not() -> None:
    manual = EVERY[2]
    assert "c1" in words([manual], team=True).text
    assert "c1" not in words([manual], "Ana").text
    assert "até o fim do dia 31/01/2026" in words([manual], "Ana").text


def test_html_is_escaped() -> None:
    said = words([offer(area="<b>Família & Cia</b>")], "O'Neil & Ana")
    assert "&lt;b&gt;Família &amp; Cia&lt;/b&gt;" in said.html
    assert "Olá, O&#x27;Neil!" in said.html
    assert "<b>" not in said.html


@pytest.mark.parametrize(
    "item",
    [
        Item("no_such_kind", {}, {}),
        Item("offer", {}, {}),
        Item("offer", {"expires_at": "2026-01-31T12:00:00"}, {}),
        Item("contract_manual", {"contract_id": "c1", "due_at": "soon"}, {}),
    ],
)
def test_what_has_no_words_is_an_error(item: Item) -> None:
    with pytest.raises((LookupError, ValueError)):
        words([item])


@pytest.mark.parametrize(
    ("value", "shown"), [(5000, "R$ 5.000,00"), (1234567.891, "R$ 1.234.567,89"), (0.5, "R$ 0,50")]
)
def test_money(value: float, shown: str) -> None:
    assert money(value) == shown


def test_fees() -> None:
    assert sentence(EVERY[1]).endswith("Honorários: R$ 5.000,00.")
    success = Item("contract_to_sign", {}, {"fee_model": {"type": "success", "percent": 12.5}})
    assert sentence(success).endswith("Honorários: 12,5 % do resultado.")


def test_instants_are_those_of_sao_paulo() -> None:
    late = datetime(2026, 2, 1, 2, 30, tzinfo=UTC)
    assert (instant(late), day(late)) == ("31/01/2026 23:30", "31/01/2026")


def test_a_push_does_not_outlive_its_offers() -> None:
    assert ttl_seconds([offer(2), offer(5)], NOON) == 5 * 3600
    assert ttl_seconds([offer()], NOON) == 60
    assert ttl_seconds([offer(), EVERY[3]], NOON) is None


def test_an_offer_says_how_urgent_its_case_is() -> None:
    payload = {"offer_id": "1", "case_id": "2", "expires_at": "2026-01-31T12:00:00-03:00"}
    for value, said in ((4, "Urgência: 4 horas."), (1, "Urgência: 1 hora."), (72, "Urgência: 3 dias.")):
        found = words([Item("offer", payload, {"area": "Família", "urgency_h": value})])
        assert said in found.push
        assert said in found.text
    assert "Urgência" not in words([Item("offer", payload, {"area": "Família", "urgency_h": None})]).text


def test_whoever_is_in_danger_is_told_whom_to_call_and_the_phone_gives_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = Item("public_numbers", {"case_id": "2"}, {"area": "Criminal", "subarea": "Violência doméstica"})
    said = words([item])
    for number in ("190", "180", "188", "192"):
        assert number in said.push
        assert number in said.text
    for told in ("Mulher", "Violência", "perigo", "Criminal"):
        assert told not in said.push + said.title + said.subject
    own = tmp_path / "numbers.txt"
    own.write_text("Ligue 100 (Disque Direitos Humanos).\n", encoding="utf-8")
    monkeypatch.setenv("LITGO_PUBLIC_NUMBERS", str(own))
    assert "Ligue 100 (Disque Direitos Humanos)." in words([item]).text
    assert words([item]).push.startswith("Telefones públicos, 24 horas: 100. ")
