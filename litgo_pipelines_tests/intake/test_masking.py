"""Nothing that names a person leaves: by form, by name, and on real court texts."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litgo_pipelines.intake.masking import NAME, cover, mask
from litgo_pipelines.intake.masking.forms import cnpj, cpf
from litgo_pipelines.intake.masking.measure import GROUPS, HALVES, TARGETS, annotated, generated, measured, texts

COURT_TEXTS = Path(__file__).parents[3] / "shared" / "data" / "tj_themes" / "tjrj.parquet"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("cpf 123.456.789-09.", "cpf [CPF]."),
        ("cpf 12345678909", "cpf [CPF]"),
        ("cpf １２３.４５６.７８９-０９", "cpf [CPF]"),
        ("caf&eacute; a 10&nbsp;% ﬁcou — ½", "caf&eacute; a 10&nbsp;% ﬁcou — ½"),
        ("LEI 8078, GOL 2015, ABC 1234", "LEI 8078, GOL 2015, [PLACA]"),
        ("cnpj 12.abc.345/01de-35 e o C.N.P.J. 12ABC34501DE35", "cnpj [CNPJ] e o C.N.P.J. [CNPJ]"),
        ("CNPJ 12.345.678/0001-95", "CNPJ [CNPJ]"),
        ("CNPJ 12.ABC.345/01DE-35", "CNPJ [CNPJ]"),
        ("minha OAB/SP 123.456 e", "minha [OAB] e"),
        ("OAB nº 98.765/MG", "[OAB]"),
        ("ligue (11) 98765-4321", "ligue [TELEFONE]"),
        ("ligue +55 11 98765 4321", "ligue [TELEFONE]"),
        ("ligue 3333-4444", "ligue [TELEFONE]"),
        ("mande para joao.s+x@mail.com.br!", "mande para [E-MAIL]!"),
        ("joao (arroba) gmail.com", "[E-MAIL]"),
        ("processo 0001234-56.2023.8.26.0100", "processo [PROCESSO]"),
        ("processo 00012345620238260100", "processo [PROCESSO]"),
        ("CEP 01310-100", "CEP [CEP]"),
        ("minha senha é abc123, a do app: senha 4321", "minha senha é [SENHA], a do app: senha [SENHA]"),
        ("cartão com cvv 123", "cartão com cvv [SENHA]"),
        ("token 123456, PIN: 9812", "token [SENHA], PIN: [SENHA]"),
        ("chegou o código de verificação 48-21-09", "chegou o código de verificação [SENHA]"),
        ("meu código é 123456", "meu código é [SENHA]"),
        ("código 8.078/90, código penal 121, código de 2002", "código 8.078/90, código penal 121, código de 2002"),
        ("IP 2804:14d:5c31:8000::1 às 10:20:30", "IP [NÚMERO] às 10:20:30"),
        ("::ffff:192.168.0.1 e 2804:14d:5c31:8000:abcd:ef01:2345:6789", "[NÚMERO] e [NÚMERO]"),
        ("nome completo: wesllyson hakkinen", "nome completo: [NOME]"),
        ("nome completo = krystofer bjork, autor", "nome completo = [NOME], autor"),
        ("meu nome completo joão da silva sauro, moro aqui", "meu nome completo [NOME], moro aqui"),
        ("me chamo joão da silva sauro e fui demitido", "me chamo [NOME] e fui demitido"),
        ("sou joão da silva sauro", "sou [NOME]"),
        ("sou joão da silva, trabalho aqui", "sou [NOME], trabalho aqui"),
        ("me chamo joão da silva preciso de ajuda", "me chamo [NOME] preciso de ajuda"),
        ("sou amigo do joão da silva faz anos", "sou amigo do [NOME] faz anos"),
        ("entre 10:20:30:40:50:60:10:20", "entre 10:20:30:40:50:60:10:20"),
        ("wifi 00:1A:2B:3C:4D:5E", "wifi [NÚMERO]"),
        ("moro em -23.5505,-46.6333", "moro em [ENDEREÇO]"),
        ("notas 7.125, 8.250 e 10.500", "notas 7.125, 8.250 e 10.500"),
        ("minha chave é sk-proj-abc123def456ghi789jkl012", "minha chave é [SENHA]"),
        ("carteira 1BoatSLRHtKNngkdXEeobR76b53LETtpyT", "carteira [SENHA]"),
        ("processo-administrativo-disciplinar-2023-e-2024", "processo-administrativo-disciplinar-2023-e-2024"),
        ("roubaram a senha do banco em 2023 e R$ 5.000", "roubaram a senha do banco em 2023 e R$ 5.000"),
        ("RG 12.345.678-X", "RG [RG]"),
        ("pix 123e4567-e89b-12d3-a456-426614174000", "pix [CHAVE]"),
        ("R$ 1.234.567,89 em 12/03/2024", "R$ 1.234.567,89 em 12/03/2024"),
        ("trabalhei 12 anos, art. 483 da CLT", "trabalhei 12 anos, art. 483 da CLT"),
    ],
)
def test_forms(text: str, masked: str) -> None:
    assert mask(text) == masked


def test_names_whatever_their_accents_and_case() -> None:
    text = "Sou JOAO da silva e o João, filho da Conceição Dias, mora aqui há dias"
    assert mask(text, ["João da Silva", None, ""]) == (
        f"Sou {NAME} da {NAME} e o {NAME}, filho da {NAME}, mora aqui há dias"
    )


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("fica na Q. 12 Conj. F Lote 9, Ceilândia", "fica na [ENDEREÇO], Ceilândia"),
        ("Qda 5 casa 3", "[ENDEREÇO]"),
        ("Q 3 - cj. B - lt 12", "[ENDEREÇO]"),
        ("residente à Av: Getúlio Vargas 1022 apto 301", "residente à [ENDEREÇO]"),
        ("rua= Sete de Setembro 900", "[ENDEREÇO]"),
        ("na Av.  Brasil, s/n lote 4", "na [ENDEREÇO]"),
        ("Cond. Solar, bl 3 ap 202", "Cond. Solar, [ENDEREÇO]"),
        ("ap. 31, bl. B", "[ENDEREÇO]"),
        ("na rua: 3 pessoas caíram em 2019", "na rua: 3 pessoas caíram em 2019"),
        ("av: paguei 300 reais", "av: paguei 300 reais"),
    ],
)
def test_addresses_as_they_are_abbreviated(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("A D. Lourdes me demitiu", "A D. [NOME] me demitiu"),
        ("a d. lourdes me cobrou", "a d. [NOME] me cobrou"),
        ("D. LOURDES NÃO PAGOU O SALARIO", "D. [NOME] NÃO PAGOU O SALARIO"),
        ("D.Lourdes e D. Xenofonte Qwrt", "D.[NOME] e D. [NOME]"),
        ("a Dª Lourdes, a Dª. Lourdes, a dna. Lourdes", "a Dª [NOME], a Dª. [NOME], a dna. [NOME]"),
        ("falei com a Sra. Lourdes e o Dr. Fulano", "falei com a Sra. [NOME] e o Dr. [NOME]"),
        ("Dr(a). Lourdes; Sr(a) Lourdes", "Dr(a). [NOME]; Sr(a) [NOME]"),
        ("o Profº Xerxenes e o Pr. Malaquito", "o Profº [NOME] e o Pr. [NOME]"),
        ("o Des. Xerxenes ouviu o Ten. Cel. Qwrtes", "o Des. [NOME] ouviu o Ten. [NOME]"),
        ("vitamina D. Tomei", "vitamina D. Tomei"),
        ("item D. Fui demitido, art. 5, d. da lei", "item D. Fui demitido, art. 5, d. da lei"),
        ("moro em Curitiba/PR. Trabalhei no hospital D. Pedro", "moro em Curitiba/PR. Trabalhei no hospital D. Pedro"),
        ("mandei do meu cel. Fiquei sem resposta", "mandei do meu cel. Fiquei sem resposta"),
        ("o exame de DNA. Depois o de DNA deu negativo", "o exame de DNA. Depois o de DNA deu negativo"),
        ("bloco D. Moro na categoria D. Dirijo", "bloco D. Moro na categoria D. Dirijo"),
    ],
)
def test_names_after_treatment(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Eu, Xerxenes da Qwrta, brasileiro, casado", "Eu, [NOME], brasileiro, casado"),
        ("Sou Xerxenes Qwrtes, solteira, e moro só", "Sou [NOME], solteira, e moro só"),
        ("XERXENES QWRTES, portadora do RG", "[NOME], portadora do RG"),
        ("aguardo. Atenciosamente,\nXerxenes Qwrtes\n", "aguardo. Atenciosamente,\n[NOME]\n"),
        ("sem mais, ass.: Xerxenes P. Qwrtes", "sem mais, ass.: [NOME]"),
        ("Att. Aguardo Retorno da empresa", "Att. Aguardo Retorno da empresa"),
        ("chamo-me Xerxenes", "chamo-me [NOME]"),
        ("no Banco do Brasil, inscrito no CNPJ", "no Banco do Brasil, inscrito no CNPJ"),
        ("Moro Sozinha, casada há dois anos", "Moro Sozinha, casada há dois anos"),
        ("vivo só, casado e sem bens", "vivo só, casado e sem bens"),
    ],
)
def test_names_where_deeds_and_letters_have_one(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize("half", HALVES)
def test_recall_by_kind_on_annotated_texts(half: str) -> None:
    assert measured(texts(half)).misses() == []


def test_recall_on_generated_spellings() -> None:
    figures = measured(generated())
    assert figures.recall("documents") >= TARGETS["documents"]
    assert figures.recall("contact") >= TARGETS["contact"]


def test_there_are_enough_texts_and_every_kind_is_among_them() -> None:
    for half in HALVES:
        assert len(texts(half)) >= 200
        assert {kind for each in texts(half) for kind, _, _ in each.marks} == {
            "ok",
            *(kind for kinds in GROUPS.values() for kind in kinds),
        }
    assert not {each.text for each in texts("building")} & {each.text for each in texts("held_out")}


def test_a_figure_counts_what_is_left() -> None:
    figures = measured([annotated("cpf {cpf|529.982.247-25} de {terceiro|Xyzw Qwrt} em {ok|2024} ontem")])
    assert figures.kinds == {"cpf": (1, 1), "terceiro": (1, 0)}
    assert (figures.kept, figures.words) == ((1, 0), (4, 0))
    assert any("names" in miss for miss in figures.misses())


@pytest.mark.parametrize("number", ["52998224725", "11144477735"])
def test_check_digits_of_a_cpf(number: str) -> None:
    assert cpf(number)
    assert not cpf(number[:-1] + str((int(number[-1]) + 1) % 10))


@pytest.mark.parametrize("number", ["11222333000181", "12ABC34501DE35"])
def test_check_digits_of_a_cnpj(number: str) -> None:
    assert cnpj(number)
    assert not cnpj(number[:-1] + str((int(number[-1]) + 1) % 10))


def test_spans_are_those_of_the_text_as_it_was_written() -> None:
    text = "açúcar &#99;pf ５２９．９８２．２４７－２５​ fim"
    ((start, end, placeholder),) = cover(text)
    assert (text[start:end].strip("​"), placeholder) == ("５２９．９８２．２４７－２５", "[CPF]")


digits = st.text("0123456789", min_size=11, max_size=11)


@settings(deadline=None)
@given(digits, st.text(max_size=40), st.text(max_size=40))
def test_a_cpf_never_survives(cpf: str, before: str, after: str) -> None:
    written = f"{cpf[:3]}.{cpf[3:6]}.{cpf[6:9]}-{cpf[9:]}"
    for form in (written, cpf):
        assert form not in mask(f"{before} {form} {after}")


@settings(deadline=None)
@given(st.text(max_size=300), st.lists(st.text(max_size=20), max_size=3))
def test_any_text_is_masked_once_and_for_all(text: str, names: list[str]) -> None:
    once = mask(text, [name for name in names if "nome" not in name.lower()])
    assert mask(once) == once


def test_real_court_texts() -> None:
    if not COURT_TEXTS.exists():
        pytest.skip(f"{COURT_TEXTS.name} of the shared data is not here")
    import pyarrow.parquet as pq

    texts = pq.read_table(COURT_TEXTS, columns=["text"])["text"].to_pylist()[:400]
    masked = [mask(text) for text in texts]
    joined = "\n".join(masked)
    assert re.search(r"\d{7}-?\d{2}\.?\d{4}\.?\d\.?\d{2}\.?\d{4}", "\n".join(texts))
    for form in (
        r"\d{7}-?\d{2}\.?\d{4}\.?\d\.?\d{2}\.?\d{4}",
        r"\d{3}\.\d{3}\.\d{3}-\d{2}",
        r"\w@\w",
        r"(?<!\d)\d{9,}",
    ):
        assert not re.search(form, joined)
    assert len(joined) > 0.97 * len("\n".join(texts))  # the law is still there
