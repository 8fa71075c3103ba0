"""Whose clock a message shows: by place, by registration, else Brasília's."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from litgo_pipelines.notifications import zones
from litgo_pipelines.notifications.messages import Item, words
from litgo_pipelines.notifications.wording import until
from litgo_pipelines.notifications.zones import BRASILIA, STATES, of_place, of_reader, of_state
from litgo_pipelines_tests.worlds.notifications import World

AT = datetime(2026, 1, 31, 15, 30, tzinfo=UTC)
MUNICIPALITIES = Path(__file__).resolve().parents[2].parent / "shared/data/olist/municipios.parquet"
OWN = {  # west of the line from Tabatinga to Porto Acre, and the island
    "atalaia do norte|AM",
    "benjamin constant|AM",
    "eirunepe|AM",
    "envira|AM",
    "guajara|AM",
    "ipixuna|AM",
    "tabatinga|AM",
    "fernando de noronha|PE",
}


@pytest.mark.parametrize(
    ("lat", "lng", "shown"),
    [
        (-23.55, -46.63, "31/01/2026 12:30 (horário de Brasília)"),
        (-9.97, -67.81, "31/01/2026 10:30 (horário do Acre)"),
        (-7.63, -72.67, "31/01/2026 10:30 (horário do Acre)"),  # Cruzeiro do Sul
        (-4.24, -69.94, "31/01/2026 10:30 (horário do oeste do Amazonas)"),
        (-3.12, -60.02, "31/01/2026 11:30 (horário do Amazonas)"),
        (-8.76, -63.9, "31/01/2026 11:30 (horário de Rondônia)"),
        (2.82, -60.67, "31/01/2026 11:30 (horário de Roraima)"),
        (-15.6, -56.1, "31/01/2026 11:30 (horário de Mato Grosso)"),
        (-15.89, -52.26, "31/01/2026 11:30 (horário de Mato Grosso)"),  # Barra do Garças, beside Goiás
        (-20.79, -51.7, "31/01/2026 11:30 (horário de Mato Grosso do Sul)"),  # Três Lagoas, beside São Paulo
        (-3.84, -32.41, "31/01/2026 13:30 (horário de Fernando de Noronha)"),
        (-20.5, -29.3, "31/01/2026 13:30 (horário de Fernando de Noronha)"),  # Trindade
    ],
)
def test_a_deadline_is_on_its_readers_clock(lat: float, lng: float, shown: str) -> None:
    assert until(AT, of_place(lat, lng)) == shown


@pytest.mark.parametrize(
    ("oab", "uf"),
    [
        ("OAB/AC 1.234", "AC"),
        ("AM 55", "AM"),
        ("1234-mt", "MT"),
        ("OAB-RR nº 9", "RR"),
        ("OAB/MS123", "MS"),
        ("OAB/RONDÔNIA 5", "RO"),
        ("OAB - Seccional do Acre nº 12", "AC"),
        ("mato grosso 12", "MT"),
        ("12/Mato-Grosso do Sul", "MS"),
        ("inscrita em 2010 no Amazonas, nº 12", "AM"),
        ("AC 5, atuo no Amazonas", "AC"),
    ],
)
def test_without_a_place_the_registration_says_the_state(oab: str, uf: str) -> None:
    assert of_state(oab) == STATES[uf]
    assert of_reader(None, None, oab) == STATES[uf]
    assert of_reader(-23.55, -46.63, oab) == BRASILIA


@pytest.mark.parametrize("oab", [None, "", "123456", "OAB/XX 1", "OAB/Pará 1", "acreditada 1"])
def test_otherwise_it_is_brasilias(oab: str | None) -> None:
    assert of_reader(None, None, oab) == BRASILIA


def test_midnight_is_the_end_of_the_day_before() -> None:
    midnight = datetime(2026, 2, 1, 3, tzinfo=UTC)
    assert until(midnight) == "o fim do dia 31/01/2026 (horário de Brasília)"
    assert until(midnight, STATES["AM"]) == "31/01/2026 23:00 (horário do Amazonas)"
    offer = Item("offer", {"expires_at": midnight.isoformat()}, {})
    assert words([offer]).push.endswith("Responda até o fim do dia 31/01/2026 (horário de Brasília).")


@pytest.mark.skipif(not MUNICIPALITIES.exists(), reason="not part of this repository: ../shared/data/olist")
def test_the_seat_of_every_municipality_but_one_has_its_states_time() -> None:
    import pandas as pd

    table = pd.read_parquet(MUNICIPALITIES)
    assert len(table) > 5_000
    found = zip(table["key"], table["uf"], table["latitude"], table["longitude"], strict=True)
    wrong = {
        key
        for key, uf, lat, lng in found
        if AT.astimezone(of_place(lat, lng).zone).utcoffset() != AT.astimezone(zones.STATES[uf].zone).utcoffset()
    }
    assert wrong - OWN == {"faro|PA"}
    assert wrong >= OWN


def test_a_lawyer_in_acre_reads_acres_time(world: World) -> None:
    person = world.person()
    world.ask("UPDATE lawyers SET geo_latlon = point(-67.81, -9.97) WHERE id = %s", (person,))
    world.offer(person)
    world.deliver()
    (request,) = world.push.requests
    assert "(horário do Acre)" in request.json()["contents"]["pt"]
