"""Distribution of offers over lawyers: Gini, coverage with its upper bound, spread within pools. Pure.

Definitions (all over one 30-day window):
- utilisation u = offers / (5 · capacidade_mensal · share of the pool's demand that came while the lawyer could be
  offered it, see `share.py`);
- Gini, coverage: over lawyers eligible for at least one case of the window and there for more than 15 % of its demand;
- coverage bound: how many of them could have got an offer at all (maximum flow, five offers per case);
- spread = P95 − P5 of u inside one pool (same primary area and state), in points.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Floats, Ints
from litgo_pipelines.equity.targets import Fairness
from litgo_pipelines.figures import finite
from litgo_pipelines.marketplace.geo import EARTH_RADIUS_KM, UNKNOWN, chord, nearest_state, unit_vectors

OFFERS_PER_CASE = 5
RADIUS_KM = 50.0
COUNTED_SHARE = 0.15  # of the window's demand somebody was there for; of less nothing can be said
LEAST_POOL = 20  # percentiles of fewer lawyers say nothing
GRID_DEGREES = 0.25  # cells of the flow bound

_Cell = tuple[int, int]
_Demand = tuple[str, _Cell | None]  # area and cell of cases
_Group = tuple[tuple[str, ...], _Cell | None]  # areas and cell of lawyers


@dataclass(frozen=True)
class Lawyers:
    """Columns, one entry per lawyer; `areas` as (lawyer index, area) pairs. Coordinates in degrees, NaN when
    unknown."""

    primary_area: NDArray[np.object_]
    lat: Floats
    lng: Floats
    capacity: Floats
    offers: Floats
    active_share: Floats  # of the demand, in [0, 1]
    area_of: Ints
    area: NDArray[np.object_]


@dataclass(frozen=True)
class Cases:
    """Cases of the window. Coordinates in degrees, NaN for a case that can be served from anywhere."""

    area: NDArray[np.object_]
    lat: Floats
    lng: Floats


class PoolFigures(TypedDict):
    pool: str
    lawyers: int
    offers: int
    gini: float | None
    coverage: float
    spread_points: float
    utilisation: float


class Distribution(Fairness):
    """One window as it is stored."""

    lawyers: int
    offers: int
    cases: int
    pools: list[PoolFigures]  # largest first, those under LEAST_POOL left out


def gini(values: Floats) -> float:
    """Gini coefficient of non-negative values, shape (n,): 0 equal … 1 one has all; NaN for none or all zero.

    G = Σ (2i − n − 1)·x_i / (n · Σ x), x ascending (the sorted form of the mean absolute difference).
    """
    x = np.sort(values)
    if not len(x) or x[-1] <= 0:
        return float("nan")
    n = len(x)
    return float((2 * np.arange(1, n + 1) - n - 1) @ x / (n * x.sum()))


def utilisation(lawyers: Lawyers) -> Floats:
    """Offers per unit of what the lawyer could take, shape (n,); NaN where the lawyer was not active at all."""
    room = OFFERS_PER_CASE * lawyers.capacity * lawyers.active_share
    return np.divide(lawyers.offers, room, out=np.full(len(room), np.nan), where=room > 0)


def eligible(lawyers: Lawyers, cases: Cases, radius_km: float = RADIUS_KM) -> NDArray[np.bool_]:
    """Whether at least one case of one of the lawyer's areas lies within the radius; shape (n,).

    Exact: one nearest-neighbour search per area. A case without a place counts for every lawyer of its area.
    """
    from scipy.spatial import cKDTree

    result = np.zeros(len(lawyers.capacity), dtype=bool)
    placed = np.isfinite(cases.lat) & np.isfinite(cases.lng)
    known = np.isfinite(lawyers.lat) & np.isfinite(lawyers.lng)
    for area in set(cases.area.tolist()):
        members = lawyers.area_of[lawyers.area == area]
        here = cases.area == area
        if (here & ~placed).any():
            result[members] = True
            continue
        members = members[known[members]]
        if not len(members):
            continue
        tree = cKDTree(unit_vectors(cases.lat[here], cases.lng[here]))
        distance, _ = tree.query(unit_vectors(lawyers.lat[members], lawyers.lng[members]))
        result[members[distance <= chord(radius_km)]] = True
    return result


def coverage_bound(lawyers: Lawyers, cases: Cases, among: NDArray[np.bool_], radius_km: float = RADIUS_KM) -> float:
    """Largest share of the lawyers `among` who could have got one offer each, five offers per case; NaN for no lawyer.

    Maximum flow cases → lawyers on groups of equals: cases by (area, grid cell), lawyers by (areas, grid cell). Two
    cells count as in reach when any two of their points could be, so that the result stays an upper bound.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import maximum_flow

    total = int(among.sum())
    if not total:
        return float("nan")
    group_size = _group_sizes(lawyers, among)
    demand: dict[_Demand, int] = {}
    for key in zip(cases.area.tolist(), _cells(cases.lat, cases.lng), strict=True):
        demand[key] = demand.get(key, 0) + OFFERS_PER_CASE
    groups, demands = list(group_size), list(demand)
    source, first_group = 0, 1 + len(demands)
    sink = first_group + len(groups)
    edges = [(source, 1 + d, demand[key]) for d, key in enumerate(demands)]
    edges += [(first_group + g, sink, group_size[key]) for g, key in enumerate(groups)]
    edges += [(1 + d, first_group + g, group_size[groups[g]]) for d, g in _in_reach(demands, groups, radius_km)]
    rows, columns, capacities = np.array(edges, dtype=np.int64).reshape(-1, 3).T
    flows = np.minimum(capacities, total).astype(np.int32)
    graph = coo_array((flows, (rows, columns)), shape=(sink + 1, sink + 1)).tocsr()
    return float(maximum_flow(graph, source, sink).flow_value / total)


def _group_sizes(lawyers: Lawyers, among: NDArray[np.bool_]) -> dict[_Group, int]:
    """How many of the lawyers `among` share areas and cell."""
    chosen = among[lawyers.area_of]
    pairs = sorted(zip(lawyers.area_of[chosen].tolist(), lawyers.area[chosen].tolist(), strict=True))
    areas_of: dict[int, tuple[str, ...]] = {}
    for lawyer, area in pairs:
        areas_of[lawyer] = (*areas_of.get(lawyer, ()), area)
    sizes: dict[_Group, int] = {}
    cell_of_lawyer = _cells(lawyers.lat, lawyers.lng)
    for lawyer, areas in areas_of.items():
        key = (areas, cell_of_lawyer[lawyer])
        sizes[key] = sizes.get(key, 0) + 1
    return sizes


def _in_reach(demands: list[_Demand], groups: list[_Group], radius_km: float) -> Iterator[tuple[int, int]]:
    """(Demand, group) of one area, as indices, whose cells could be within the radius of each other."""
    from scipy.spatial import cKDTree

    # the corner-to-corner slack of two cells, at the equator where a degree is longest
    reach = chord(radius_km + np.radians(GRID_DEGREES) * np.sqrt(2) * EARTH_RADIUS_KM)
    by_area: dict[str, list[int]] = {}
    for g, (areas, _) in enumerate(groups):
        for area in areas:
            by_area.setdefault(area, []).append(g)
    demand_of_area: dict[str, list[int]] = {}
    for d, (area, _) in enumerate(demands):
        demand_of_area.setdefault(area, []).append(d)
    for area, of_area in demand_of_area.items():
        members = by_area.get(area, [])
        yield from ((d, g) for d in of_area if demands[d][1] is None for g in members)
        placed = [(g, cell) for g in members if (cell := groups[g][1]) is not None]
        wanted = [(d, cell) for d in of_area if (cell := demands[d][1]) is not None]
        if placed and wanted:
            tree = cKDTree(_centres([cell for _, cell in placed]))
            near = tree.query_ball_point(_centres([cell for _, cell in wanted]), reach)
            for (d, _), indices in zip(wanted, near, strict=True):
                yield from ((d, placed[index][0]) for index in indices)


def _cells(lat: Floats, lng: Floats) -> list[_Cell | None]:
    known = np.isfinite(lat) & np.isfinite(lng)
    row = np.floor(np.where(known, lat, 0) / GRID_DEGREES).astype(int).tolist()
    column = np.floor(np.where(known, lng, 0) / GRID_DEGREES).astype(int).tolist()
    return [(r, c) if k else None for r, c, k in zip(row, column, known.tolist(), strict=True)]


def _centres(cells: list[_Cell]) -> Floats:
    corners = np.array(cells, dtype=float)
    return unit_vectors((corners[:, 0] + 0.5) * GRID_DEGREES, (corners[:, 1] + 0.5) * GRID_DEGREES)


def distribution(lawyers: Lawyers, cases: Cases) -> Distribution:
    """Everything about one window, ready to be stored; figures that do not exist for want of data are None."""
    u = utilisation(lawyers)
    counted = eligible(lawyers, cases) & (lawyers.active_share > COUNTED_SHARE)
    uf = nearest_state(lawyers.lat, lawyers.lng)
    names = np.array([f"{area or UNKNOWN} · {state}" for area, state in zip(lawyers.primary_area, uf, strict=True)])
    pools: list[PoolFigures] = []
    for name in np.unique(names[counted]):
        here = counted & (names == name)
        if here.sum() >= LEAST_POOL:
            low, high = np.percentile(u[here], [5, 95])
            pools.append(
                {
                    "pool": str(name),
                    "lawyers": int(here.sum()),
                    "offers": int(lawyers.offers[here].sum()),
                    "gini": finite(gini(u[here])),
                    "coverage": float((lawyers.offers[here] > 0).mean()),
                    "spread_points": float(100 * (high - low)),
                    "utilisation": float(u[here].mean()),
                }
            )
    room = float((lawyers.capacity * lawyers.active_share).sum())
    return {
        "lawyers": int(counted.sum()),
        "offers": int(lawyers.offers.sum()),
        "cases": len(cases.area),
        "gini": finite(gini(u[counted])),
        "coverage": float((lawyers.offers[counted] > 0).mean()) if counted.any() else None,
        "coverage_bound": finite(coverage_bound(lawyers, cases, counted)),
        "spread_points": max((pool["spread_points"] for pool in pools), default=None),
        "demand_ratio": len(cases.area) / room if room else None,
        "pools": sorted(pools, key=lambda pool: (-pool["lawyers"], pool["pool"])),
    }
