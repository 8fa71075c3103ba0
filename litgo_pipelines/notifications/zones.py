"""Time zones of readers: by the place they are at, or the state they are registered in. Pure.

Brazil has four times and no daylight saving: Noronha, Brasília, the west (Amazonas, Rondônia, Roraima and both Mato
Grosso), and Acre with the west of Amazonas. Which offset is in force is the zone database's to know.
"""

import csv
import re
import unicodedata
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from litgo_pipelines.marketplace.words import folded


class Zone(NamedTuple):
    """`named`: what a message calls it."""

    zone: ZoneInfo
    named: str


def _zone(name: str, named: str) -> Zone:
    return Zone(ZoneInfo(f"America/{name}"), named)


BRASILIA = _zone("Sao_Paulo", "horário de Brasília")
WEST_AMAZONAS = _zone("Eirunepe", "horário do oeste do Amazonas")
NORONHA = _zone("Noronha", "horário de Fernando de Noronha")
STATES = {
    "AC": _zone("Rio_Branco", "horário do Acre"),
    "AM": _zone("Manaus", "horário do Amazonas"),
    "RO": _zone("Porto_Velho", "horário de Rondônia"),
    "RR": _zone("Boa_Vista", "horário de Roraima"),
    "MT": _zone("Cuiaba", "horário de Mato Grosso"),
    "MS": _zone("Campo_Grande", "horário de Mato Grosso do Sul"),
    # at Brasília's time, each with its own history
    "AL": BRASILIA._replace(zone=ZoneInfo("America/Maceio")),
    "AP": BRASILIA._replace(zone=ZoneInfo("America/Belem")),
    "BA": BRASILIA._replace(zone=ZoneInfo("America/Bahia")),
    "CE": BRASILIA._replace(zone=ZoneInfo("America/Fortaleza")),
    "MA": BRASILIA._replace(zone=ZoneInfo("America/Fortaleza")),
    "PA": BRASILIA._replace(zone=ZoneInfo("America/Belem")),
    "PB": BRASILIA._replace(zone=ZoneInfo("America/Fortaleza")),
    "PE": BRASILIA._replace(zone=ZoneInfo("America/Recife")),
    "PI": BRASILIA._replace(zone=ZoneInfo("America/Fortaleza")),
    "RN": BRASILIA._replace(zone=ZoneInfo("America/Fortaleza")),
    "SE": BRASILIA._replace(zone=ZoneInfo("America/Maceio")),
    "TO": BRASILIA._replace(zone=ZoneInfo("America/Araguaina")),
    **dict.fromkeys(("DF", "ES", "GO", "MG", "PR", "RJ", "RS", "SC", "SP"), BRASILIA),
}
_OAB = re.compile(r"o\.?a\.?b\.?", re.IGNORECASE)
_STATE = re.compile(r"(?<![A-Za-z])([A-Za-z]{2})(?![A-Za-z])")
# Spelled out, of those not at Brasília's time; the longer name first.
_NAMES = {
    "mato grosso do sul": "MS",
    "mato grosso": "MT",
    "amazonas": "AM",
    "acre": "AC",
    "rondonia": "RO",
    "roraima": "RR",
}
_NAMED = re.compile(rf"\b({'|'.join(_NAMES)})\b")


class Lines(NamedTuple):
    """Of `zones.csv`, as (latitude, longitude). Right for the seat of every municipality but Faro's, in Pará.

    `west`: its border with Pará, Tocantins, Goiás, Minas, São Paulo and Paraná; `far_west`: from Tabatinga to Porto
    Acre, then Acre's eastern border; `acre`: north of it the far west is Amazonas'; `centres`: state → places in it.
    """

    west: list[tuple[float, float]]
    far_west: list[tuple[float, float]]
    acre: list[tuple[float, float]]
    centres: dict[str, list[tuple[float, float]]]


@cache
def _lines() -> Lines:
    found: dict[str, list[tuple[float, float]]] = {}
    with files(__package__).joinpath("zones.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["line"], []).append((float(row["lat"]), float(row["lng"])))
    west, far_west, acre = (sorted(found.pop(name)) for name in ("west", "far_west", "acre"))
    return Lines(west, far_west, sorted((lng, lat) for lat, lng in acre), found)


def of_place(lat: float, lng: float) -> Zone:
    """The zone of a point in Brazil."""
    if lng > -34:
        return NORONHA
    lines = _lines()
    if lines.far_west[0][0] < lat < lines.far_west[-1][0] and lng < _at(lines.far_west, lat):
        return STATES["AC"] if lat < _at(lines.acre, lng) else WEST_AMAZONAS
    if lat < lines.west[0][0] or lng > _at(lines.west, lat):
        return BRASILIA
    far = {uf: min((a - lat) ** 2 + (b - lng) ** 2 for a, b in places) for uf, places in lines.centres.items()}
    return STATES[min(far, key=lambda uf: far[uf])]


def of_state(text: str | None) -> Zone | None:
    """The zone of the state an OAB number names, like «OAB/AC 1.234», «1234-MT» or «OAB/Acre 1234»; None where it names
    none, or spells out one at Brasília's time."""
    said = _OAB.sub(" ", unicodedata.normalize("NFKC", text or ""))
    named = [found.upper() for found in _STATE.findall(said) if found.upper() in STATES]
    spelled = [_NAMES[name] for name in _NAMED.findall(folded(said).replace("-", " "))]
    return next((STATES[uf] for uf in (*named, *spelled)), None)


def of_reader(lat: float | None, lng: float | None, oab: str | None) -> Zone:
    """The place first, then the registration, else Brasília."""
    if lat is not None and lng is not None:
        return of_place(lat, lng)
    return of_state(oab) or BRASILIA


def _at(line: list[tuple[float, float]], x: float) -> float:
    """The line's second value where its first, which rises, is `x`; beyond the ends it goes on as it is there."""
    if x <= line[0][0]:
        return line[0][1]
    for (x0, y0), (x1, y1) in pairwise(line):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return line[-1][1]
