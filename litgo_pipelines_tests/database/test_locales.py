"""Databases of other locales, where letters have other capitals and texts another order: the same is understood."""

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from litgo_pipelines.database import normalise
from litgo_pipelines.marketplace import doctor
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.matching import AS_OF, fill, match, offers
from litgo_pipelines_tests.worlds.sessions import ask

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.proof("litgo_pipelines/database", "litgo_pipelines/marketplace", "litgo_pipelines_tests/worlds"),
]

LOCALES = {
    "C": "LOCALE 'C'",
    "pt-BR of ICU": "LOCALE_PROVIDER icu ICU_LOCALE 'pt-BR' LOCALE 'C'",
    # where the small I has no dot
    "tr of ICU": "LOCALE_PROVIDER icu ICU_LOCALE 'tr' LOCALE 'C'",
}
AREAS = (
    *(
        "FAMÍLIA",
        "familia",
        "Família",
        "DIREITO DE FAMÍLIA",
        "direitodeFamília",
        "CÍVEL",
        "Cível",
        "TRIBUTÁRIO / FISCAL",
    ),
    *(
        "Imobiliário",
        "IMOBILIÁRIO",
        "Criminal",
        "CRIMINAL",
        "Previdenciário e INSS",
        "ＣＩＶＩＬ",
        "Öffentliches Recht",
    ),
)
NUMBERS = (
    "OAB/PI 123.456",
    "oab/pi 123456",
    "OAB Piauí 123456",
    "123456/pi",
    "OAB/SP 12.345-A",
    "oab/sp 12.345-a",
    "MINAS GERAIS 7",
)
YEARS = ("VINTE E CINCO ANOS", "vinte e cinco anos", "12 anos", "CINCO", "mais de dez anos")
UNDERSTOOD = """
SELECT 'area', w, litgo.area_key(w) || ': ' || litgo.area_name(w) || litgo.area_keys(NULL, w)::text
FROM unnest(%(areas)s) w
UNION ALL SELECT 'number', w, litgo.oab_key(w) FROM unnest(%(numbers)s) w
UNION ALL SELECT 'years', w, litgo.stated_years(w)::text FROM unnest(%(years)s) w
UNION ALL SELECT 'address', w, litgo.mailbox(w) || litgo.address_digest(w)
FROM unnest(ARRAY['INFO@IT.EXAMPLE', 'Info@it.example']) w
UNION ALL SELECT 'words', w, litgo.said(w) FROM unnest(%(areas)s) w
"""


def understood(url: str) -> list[tuple[Any, ...]]:
    found = ask(url, UNDERSTOOD, {"areas": list(AREAS), "numbers": list(NUMBERS), "years": list(YEARS)})
    return sorted(found, key=repr)


@pytest.fixture(params=LOCALES)
def elsewhere(request: pytest.FixtureRequest, postgres_server_url: str) -> Iterator[str]:
    name = f"litgo_locale_{uuid.uuid4().hex[:12]}"
    try:
        execute(
            postgres_server_url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' {LOCALES[request.param]}"
        )
    except psycopg2.errors.FeatureNotSupported:
        pytest.skip("this server was built without ICU")
    yield normalise(postgres_server_url, name)
    execute(postgres_server_url, f"DROP DATABASE {name} WITH (FORCE)")


def test_the_same_words_and_numbers_are_understood_and_the_same_offers_made(elsewhere: str, database_url: str) -> None:
    migrate(elsewhere)
    for url in (elsewhere, database_url):
        fill(url, lawyers=12, cases=4)
        ask(url, "UPDATE public.lawyers SET tags_expertise = '{CÍVEL,FAMÍLIA}', primary_area = NULL")
        ask(url, "UPDATE public.cases SET area = 'família'")
        match(url, as_of=AS_OF)
    assert understood(elsewhere) == understood(database_url)
    assert offers(elsewhere) == offers(database_url)
    assert len(offers(elsewhere)) == 20


@pytest.mark.parametrize("elsewhere", sorted(LOCALES.keys() - {"C"}), indirect=True)  # C has no version
def test_texts_that_the_system_sorts_otherwise_by_now_are_told(elsewhere: str) -> None:
    """As after an upgrade of the operating system; and no database can be made from such a template."""
    execute(elsewhere, "UPDATE pg_database SET datcollversion = '1.0' WHERE datname = current_database()")
    assert any("REFRESH COLLATION VERSION" in note for note in doctor.examine(elsewhere).notes)
