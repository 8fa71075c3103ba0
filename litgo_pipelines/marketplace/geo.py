"""Places: haversine distances and the state a place is in. Pure.

`states.csv` has the 27 states with their capital's coordinates and population (IBGE, census of 2022). A place belongs
to the state of the nearest capital, which needs no map and is right for most of the population, not near every border.
"""

import csv
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Floats

EARTH_RADIUS_KM = 6371.0088
UNKNOWN = "??"


class State(NamedTuple):
    """One of the 27 federative units; coordinates of its capital in degrees, population of the 2022 census (IBGE)."""

    uf: str
    name: str
    capital: str
    lat: float
    lng: float
    population: int


@cache
def states() -> tuple[State, ...]:
    """The rows of `states.csv`, ordered by `uf`."""
    with files("litgo_pipelines.marketplace").joinpath("states.csv").open(encoding="utf-8") as file:
        return tuple(
            State(r["uf"], r["name"], r["capital"], float(r["lat"]), float(r["lng"]), int(r["population"]))
            for r in csv.DictReader(file)
        )


def unit_vectors(lat: Floats, lng: Floats) -> Floats:
    """Degrees, shape (n,) each → points on the unit sphere, shape (n, 3)."""
    phi, lam = np.radians(lat), np.radians(lng)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)


def chord(km: float) -> float:
    """Great-circle kilometres as a straight distance on the unit sphere, so that k-d trees can search by it."""
    return float(2 * np.sin(min(km / EARTH_RADIUS_KM, np.pi) / 2))


def nearest_state(lat: Floats, lng: Floats) -> NDArray[np.str_]:
    """Two-letter state of each place, shape (n,); '??' where a coordinate is missing (NaN)."""
    known = np.isfinite(lat) & np.isfinite(lng)
    result = np.full(len(lat), UNKNOWN, dtype="<U2")
    capitals = unit_vectors(np.array([s.lat for s in states()]), np.array([s.lng for s in states()]))
    result[known] = np.array([s.uf for s in states()])[
        np.argmax(unit_vectors(lat[known], lng[known]) @ capitals.T, axis=1)
    ]
    return result
