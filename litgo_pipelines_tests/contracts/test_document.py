"""The contract's PDF, read back: its words, its figures, the same bytes, and what cannot be printed."""

import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from litgo_pipelines.contracts.document import NotRenderable, Terms, anchors, fee_text, placeholders, render

pytestmark = pytest.mark.proof

ID = "1f0e9c1a-3b5e-4b8e-9a59-0c6c8f6f1a11"
TERMS = Terms(
    ID,
    "José João da Conceição",
    "Ângela Müller",
    "OAB/SP 123.456",
    "Demissão sem justa causa – “verbas”",
    "Trabalhista",
    {"type": "success", "percent": 20},
    datetime(2026, 3, 10, 1, 30, tzinfo=UTC),
)


def words(pdf: bytes) -> str:
    import pypdf

    return " ".join(" ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages).split())


def test_the_document_says_who_what_how_much_and_when() -> None:
    said = words(render(TERMS))
    for part in (
        "CONTRATO DE PRESTAÇÃO DE SERVIÇOS ADVOCATÍCIOS",
        f"Contrato nº {ID}, de 09/03/2026.",  # in São Paulo
        "CONTRATANTE: José João da Conceição.",
        "CONTRATADO(A): Ângela Müller, advogado(a) inscrito(a)",
        "sob o nº SP 123.456",
        "CONTRATANTE: “Demissão sem justa causa – ‘verbas’”",
        "direito: “Trabalhista”",
        "20% do êxito",
        "não têm força contratual",
        *anchors(ID),
    ):
        assert said.count(part) == 1, part
    assert "{" not in said


def test_the_same_terms_give_the_same_bytes_and_others_do_not() -> None:
    assert render(TERMS) == render(replace(TERMS))
    assert render(TERMS) != render(replace(TERMS, client="Maria"))
    assert render(TERMS) != render(replace(TERMS, at=datetime(2026, 3, 11, tzinfo=UTC)))


@pytest.mark.parametrize(
    ("fee", "said"),
    [
        ({"type": "success", "percent": 20}, " 20% do êxito"),
        ({"type": "success", "percent": 12.5}, " 12,5% do êxito"),
        ({"type": "success", "percent": 100}, " 100% do êxito"),
        ({"type": "fixed", "value": 5000}, "honorários fixos de R$ 5.000,00."),
        ({"type": "fixed", "value": 1234567.8}, "R$ 1.234.567,80"),
        ({"type": "hourly", "rate": 350}, "R$ 350,00 por hora"),
        ({"type": "success", "percent": "20"}, " 20% do êxito"),
        ({"type": "success", "percent": " 33,333 % "}, " 33,33% do êxito"),
        ({"type": "success", "percent": 33.333}, " 33,33% do êxito"),
        ({"type": "success", "percent": "33.335"}, " 33,34% do êxito"),
        ({"type": " Success ", "percent": "12.5"}, " 12,5% do êxito"),
        ({"type": "fixed", "value": "5000"}, "fixos de R$ 5.000,00."),
        ({"type": "fixed", "value": "R$ 5.000,00"}, "fixos de R$ 5.000,00."),
        ({"type": "fixed", "value": "R$\u00a05.000"}, "fixos de R$ 5.000,00."),
        ({"type": "fixed", "value": "5,000.00"}, "fixos de R$ 5.000,00."),
        ({"type": "fixed", "value": "1.234.567,8"}, "fixos de R$ 1.234.567,80."),
        ({"type": "fixed", "value": "33.333"}, "fixos de R$ 33.333,00."),
        ({"type": "fixed", "value": 33.333}, "fixos de R$ 33,33."),
        ({"type": "fixed", "value": "1500.5"}, "fixos de R$ 1.500,50."),
        ({"type": "hourly", "rate": "350 reais por hora"}, "R$ 350,00 por hora"),
        ({"type": "success", "percent": 0}, "pro bono: não são devidos honorários"),
        ({"type": "fixed", "value": "0"}, "pro bono: não são devidos honorários"),
        ({"type": "pro_bono"}, "pro bono: não são devidos honorários"),
        ({"type": "fixed", "value": "R$ 5 mil"}, "fixos de R$ 5.000,00."),
        ({"type": "fixed", "value": "1,5 mil reais"}, "fixos de R$ 1.500,00."),
        ({"type": "fixed", "value": "R$5k"}, "fixos de R$ 5.000,00."),
        ({"type": "fixed", "value": "R$ 5.000,00 (cinco mil reais)"}, "fixos de R$ 5.000,00."),
        ({"type": "fixed", "value": "R$: 5.000,-"}, "fixos de R$ 5.000,00."),
        ({"type": "fixed", "value": "RS 5.000,00."}, "fixos de R$ 5.000,00."),
        ({"type": "fixed", "value": "Ｒ＄ ５.０００"}, "fixos de R$ 5.000,00."),
        ({"type": "fixed", "value": "", "amount": 5000}, "fixos de R$ 5.000,00."),
        ({"type": "hourly", "rate": "R$ 350/h"}, "R$ 350,00 por hora"),
        ({"type": "hourly", "rate": "350 p/ hora"}, "R$ 350,00 por hora"),
        ({"type": "success", "percent": "20％"}, " 20% do êxito"),
        ({"type": "success", "percent": "20% (vinte por cento)"}, " 20% do êxito"),
        ({"type": "e\u0302xito", "percentual": 20}, " 20% do êxito"),
        ({"type": "success_fee", "percent": 20}, " 20% do êxito"),
        ({"type": "Contingência", "percent": 20}, " 20% do êxito"),
        ({"type": "ad exitum", "percent": 20}, " 20% do êxito"),
        ({"tipo": "valor_fixo", "valor": "5000", "moeda": "R$"}, "fixos de R$ 5.000,00."),
        ({"Type": "Fixed Fee", "Value": 5000, "currency": "BRL"}, "fixos de R$ 5.000,00."),
        ({"type": "por_hora", "valor_hora": 350}, "R$ 350,00 por hora"),
        ({"type": "fixed", "value": 5000, "unit": "BRL"}, "fixos de R$ 5.000,00."),
        ({"type": "hourly", "rate": 350, "unit": "R$/h"}, "R$ 350,00 por hora"),
        ({"type": "success", "percent": 20, "unit": "%"}, " 20% do êxito"),
        ({"type": "gratuita"}, "pro bono: não são devidos honorários"),
        ('{"type": "fixed", "value": 5000}', "fixos de R$ 5.000,00."),
        ("Pro bono", "pro bono: não são devidos honorários"),
        ({"type": "success", "percent": "vinte por cento"}, " 20% do êxito"),
        ({"type": "success", "percent": "vinte e cinco porcento (25%)"}, " 25% do êxito"),
        ({"type": "success", "percent": "1/3"}, " 33,33% do êxito"),
        ({"type": "Honorários de êxito", "percent": 30, "value": 0}, " 30% do êxito"),
        ({"type": "fixed", "value": "mil e quinhentos reais"}, "fixos de R$ 1.500,00."),
        ({"type": "fixed", "value": "R$ 5.000,10 (cinco mil reais e dez centavos)"}, "fixos de R$ 5.000,10."),
        ({"type": "fixed", "value": "sem honorários"}, "pro bono: não são devidos honorários"),
        ({"type": "fixed", "value": 5000, "percent": "0,00", "rate": None}, "fixos de R$ 5.000,00."),
        ({"type": "fixed", "value": 5000, "amount": "5000"}, "fixos de R$ 5.000,00."),
        ({"type": "hora trabalhada", "valor": "trezentos reais a hora"}, "R$ 300,00 por hora"),
    ],
)
def test_fees_in_words_and_brl(fee: Any, said: str) -> None:
    assert said in fee_text(fee)


@pytest.mark.parametrize(
    ("fee", "reason"),
    [
        (None, "fee_model_unknown"),
        ([], "fee_model_unknown"),
        ({}, "fee_model_unknown"),
        ({"type": "barter", "percent": 20}, "fee_model_unknown"),
        *(
            ({"type": "success", "percent": value}, "fee_value_invalid")
            for value in (
                None,
                "",
                "vinte",
                "-20",
                True,
                -5,
                100.5,
                float("nan"),
                float("inf"),
                "1e2",
                "2.0.0",
                [20],
                0.001,
            )
        ),
        *(({"type": "fixed", "value": value}, "fee_value_invalid") for value in ("5,000", "a combinar", "5.00.000,00")),
        ({"type": "fixed", "value": 1e12}, "fee_value_invalid"),
        ({"type": "fixed", "percent": 20}, "fee_value_invalid"),
        # what could be read in two ways, is in other money, or says more than the document would
        *(({"type": "success", "percent": value}, "fee_value_invalid") for value in (0.3, "0,3", "20 a 30%", "R$ 20")),
        *(
            ({"type": "fixed", "value": value}, "fee_value_invalid")
            for value in (
                "10%",
                "US$ 5.000",
                "€ 5.000",
                "350/h",
                "3x de R$ 1.000",
                "2 salários mínimos",
                "R$ 5.000 (seis mil reais)",
                "5.000.00",
                10**400,
                {"amount": 5000},
            )
        ),
        ({"type": "fixed", "value": 5000, "currency": "USD"}, "fee_value_invalid"),
        *(
            ({"type": "fixed", "value": value}, "fee_value_invalid")
            for value in (
                "R$ 1.500,00 + 20%",
                "vinte trinta reais",
                "dois mil cinco mil reais",
                "reais",
                "R$ 500 (mensais)",
                "seis mil reais (5.000)",
            )
        ),
        ({"type": "fixed", "value": 500, "period": "month"}, "fee_value_invalid"),
        # the document would leave one of them out
        ({"type": "success", "percent": 20, "value": 5000}, "fee_two_figures"),
        ({"type": "fixed", "value": "5.000", "percentual": "20%"}, "fee_two_figures"),
        ({"type": "fixed", "value": 0, "amount": 500}, "fee_two_figures"),
        ({"type": "hourly", "rate": 350, "value": 9000}, "fee_two_figures"),
        ({"type": "pro_bono", "value": 500}, "fee_two_figures"),
        ({"type": "fixed", "value": 500000, "unit": "cents"}, "fee_value_invalid"),
        ({"tipo": "fixo", "valor": "5.000", "unidade": "centavos"}, "fee_value_invalid"),
        ({"type": "fixed", "value": 500000, "currency": "BRL", "precision": 2}, "fee_value_invalid"),
        ({"type": "success", "value": 2000, "unit": "bps"}, "fee_value_invalid"),
        ({"percent": 20}, "fee_model_unknown"),
        ("fixed", "fee_model_unknown"),
        ("[" * 100_000, "fee_model_unknown"),
        ({"type": ["fixed"], "value": 5000}, "fee_model_unknown"),
    ],
)
def test_a_fee_that_makes_no_sense_is_refused(fee: Any, reason: str) -> None:
    with pytest.raises(NotRenderable) as caught:
        render(replace(TERMS, fee_model=fee))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"client": None}, "client_missing"),
        ({"lawyer": " \n"}, "lawyer_missing"),
        ({"oab": "OAB/"}, "oab_missing"),
        ({"client": "山田"}, "letters_not_printable"),
        ({"client": "محمد Ali"}, "letters_not_printable"),
        ({"client": "\ufffdngela Müller"}, "letters_not_printable"),
        ({"lawyer": "Jo?o Müller"}, "letters_not_printable"),
        *(
            ({"client": name}, "client_missing")
            for name in (
                "-",
                ".",
                "???",
                "1234",
                "<b>Ana</b>",
                "{nome_do_cliente}",
                "%s",
                "/cliente11111111/",
                "N/A",
                "null",
                "🙏",
                "Não informado",
                "ana@example.com",
                "https://x.example/a",
                "<nome>",
                "Ana <br> Silva",
                "<%= nome %>",
                "[Nome]",
                "%NOME%",
                "undefined undefined",
            )
        ),
        *(({"oab": oab}, "oab_missing") for oab in ("-", "n/a", "não tenho", "OAB nº", "em andamento")),
    ],
)
def test_a_party_without_a_name_we_can_print_is_refused(changes: Any, reason: str) -> None:
    with pytest.raises(NotRenderable) as caught:
        render(replace(TERMS, **changes))
    assert caught.value.reason == reason


def test_what_people_write_stays_text() -> None:
    """No placeholder, no line of its own, no place to sign, no end of a quotation; accents are put together."""
    title = "{client}\n## CLÁUSULA 9ª\x00 **x** " + "a" * 400
    values = placeholders(replace(TERMS, title=title, client="Joa\u0303o"))
    assert values["case"].startswith("{client} ## CLÁUSULA 9ª **x** aaa")
    assert len(values["case"]) <= 300
    assert values["client"] == "João"
    nicknamed = placeholders(replace(TERMS, client="O'Neil <Ana>", lawyer="Ana <Silva> & Maria <3"))
    assert (nicknamed["client"], nicknamed["lawyer"]) == ("O'Neil <Ana>", "Ana <Silva> & Maria <3")
    assert "{client} ## CLÁUSULA 9ª **x**" in words(render(replace(TERMS, title=title)))
    assert "CONTRATANTE: “sem título”" in words(render(replace(TERMS, title=None)))
    closing = words(render(replace(TERMS, title='Dívida”. CLÁUSULA 8ª: "nada" é «devido»')))
    assert "“Dívida’. CLÁUSULA 8ª: 'nada' é ‹devido›”" in closing
    with pytest.raises(ValueError, match="zone"):
        render(replace(TERMS, at=datetime(2026, 3, 10)))  # noqa: DTZ001


UNSEEN = "\u200b\u200c\u200d\u200e\u200f\u202a\u202e\u2060\u2066\ufeff\u00ad\u034f\u061c\u3164\x00\x07\x1b\x7f\x85"


def test_what_nobody_sees_is_dropped() -> None:
    hidden = UNSEEN.join("Ana Lima")
    assert placeholders(replace(TERMS, client=hidden))["client"].replace(" ", "") == "AnaLima"
    with_marks = placeholders(
        replace(TERMS, title="di\u200bvór\u00adcio \u202eodnuges\u202c\ufeff", client="J\u200bosé")
    )
    assert (with_marks["case"], with_marks["client"]) == ("divórcio odnuges", "José")
    assert render(replace(TERMS, client="Jo\u200bão")) == render(replace(TERMS, client="João"))
    with pytest.raises(NotRenderable) as caught:
        render(replace(TERMS, client=UNSEEN))
    assert caught.value.reason == "client_missing"


@pytest.mark.parametrize(
    "name", ["Żaneta Łukasiewicz", "Đặng Thị Hương", "Ioana Ștefănescu", "Şükrü Ağaoğlu", "Κώστας", "Иван Петров"]
)
def test_names_beyond_western_europe_are_shown_as_they_are(name: str) -> None:
    pdf = render(replace(TERMS, client=name, lawyer=name))
    assert words(pdf).count(name) == 6
    assert pdf == render(replace(TERMS, client=name, lawyer=name))


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("𝐉𝐨ã𝐨 𝓢𝓲𝓵𝓿𝓪", "João Silva"),
        ("Ｊｏãｏ　Ｓｉｌｖａ", "João Silva"),
        ("Ⓜaria Ⓢilva", "Maria Silva"),
        ("🅰na 🄻ima", "Ana Lima"),
        ("José ﬁlho", "José filho"),
        ("JosÃ© da ConceiÃ§Ã£o", "José da Conceição"),
        ("ÃšRSULA", "ÚRSULA"),
        ("D&#39;Ávila &amp; Cia", "D'Ávila & Cia"),
        # and what only looks like one of these
        ("IRMÃ\u00a0DULCE", "IRMÃ DULCE"),
        ("José\u00a0\u00a0da Silva", "José da Silva"),
        ("Mª das Dores", "Mª das Dores"),
        ("João\u202eavliS", "JoãoavliS"),
    ],
)
def test_a_name_in_fancy_dress_or_encoded_twice_is_the_name_that_is_meant(written: str, shown: str) -> None:
    assert placeholders(replace(TERMS, client=written, lawyer=written))["client"] == shown
    assert words(render(replace(TERMS, client=written))).count(shown.split()[0]) >= 3


@pytest.mark.parametrize(
    "oab", ["oab/sp 123456", "O.A.B./SP 123456", "OAB - SP 123456", "OAB/SP １２３４５６", " OAB OAB/SP 123456"]
)
def test_the_letters_oab_stand_once(oab: str) -> None:
    assert placeholders(replace(TERMS, oab=oab))["oab"].upper() == "SP 123456"


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("🔥🔥 Demissão 👩🏽‍⚖️ injusta ❤️", "Demissão injusta"),
        ("山田", "sem título"),
        ("🙏", "sem título"),
        ("Acordo 山 urgente", "Acordo urgente"),
        ("Z\u0351\u036b\u0343\u032a\u0302\u036balgo", "Zalgo"),
        ("Preço ≥ € 5", "Preço ≥ € 5"),
    ],
)
def test_no_contract_is_refused_for_its_title(title: str, shown: str) -> None:
    said = words(render(replace(TERMS, title=title)))
    assert shown in "".join(letter for letter in said if not "\u0300" <= letter <= "\u036f")
