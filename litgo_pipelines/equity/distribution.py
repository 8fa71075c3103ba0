"""Distribution of offers over lawyers: Gini, coverage with its upper bound, spread within pools. Pure.

Definitions (all over one 30-day window):
- utilisation u = offers / (5 · capacidade_mensal · share of the pool's demand that came while the lawyer could be
  offered it, see `share.py`);
- Gini, coverage: over lawyers eligible for at least one case of the window and there for more than 15 % of its demand;
- coverage bound: how many of them could have got an offer at all (maximum flow, five offers per case);
- spread = P95 − P5 of u inside one pool (same primary area and state), in points.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.equity.share import LEAST_SHARE
from litgo_pipelines.marketplace.geo import EARTH_RADIUS_KM, UNKNOWN, chord, nearest_state, unit_vectors

OFFERS_PER_CASE = 5
RADIUS_KM = 50.0
LEAST_POOL = 20  # percentiles of fewer lawyers say nothing
GRID_DEGREES = 0.25  # cells of the flow bound

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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

    Exact: one nearest-neighbour search an area. A case without a place counts for every lawyer of its area.
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
    from scipy.spatial import cKDTree

    total = int(among.sum())
    if not total:
        return float("nan")
    chosen = among[lawyers.area_of]
    pairs = sorted(zip(lawyers.area_of[chosen].tolist(), lawyers.area[chosen].tolist(), strict=True))
    areas_of: dict[int, tuple[str, ...]] = {}
    for lawyer, area in pairs:
        areas_of[lawyer] = (*areas_of.get(lawyer, ()), area)
    group_size: dict[tuple, int] = {}
    cell_of_lawyer = _cells(lawyers.lat, lawyers.lng)
    for lawyer, areas in areas_of.items():
        key = (areas, cell_of_lawyer[lawyer])
        group_size[key] = group_size.get(key, 0) + 1
    demand: dict[tuple, int] = {}
    for key in zip(cases.area.tolist(), _cells(cases.lat, cases.lng), strict=True):
        demand[key] = demand.get(key, 0) + OFFERS_PER_CASE

    groups, demands = list(group_size), list(demand)
    source, sink = 0, 1 + len(demands) + len(groups)
    rows, columns, capacities = [], [], []

    def edge(a: int, b: int, capacity: int) -> None:
        rows.append(a)
        columns.append(b)
        capacities.append(min(capacity, total))

    for d, key in enumerate(demands):
        edge(source, 1 + d, demand[key])
    for g, key in enumerate(groups):
        edge(1 + len(demands) + g, sink, group_size[key])
    # the corner-to-corner slack of two cells, at the equator where a degree is longest
    reach = chord(radius_km + np.radians(GRID_DEGREES) * np.sqrt(2) * EARTH_RADIUS_KM)
    by_area: dict[str, list[int]] = {}
    for g, (areas, _) in enumerate(groups):
        for area in areas:
            by_area.setdefault(area, []).append(g)
    demand_of_area: dict[str, list[int]] = {}
    for d, (area, _) in enumerate(demands):
        demand_of_area.setdefault(area, []).append(d)
    for area, wanted in demand_of_area.items():
        members = by_area.get(area, [])
        placed = [g for g in members if groups[g][1] is not None]
        for d in (d for d in wanted if demands[d][1] is None):
            for g in members:
                edge(1 + d, 1 + len(demands) + g, group_size[groups[g]])
        wanted = [d for d in wanted if demands[d][1] is not None]
        if placed and wanted:
            tree = cKDTree(_centres([groups[g][1] for g in placed]))
            for d, near in zip(
                wanted, tree.query_ball_point(_centres([demands[d][1] for d in wanted]), reach), strict=True
            ):
                for index in near:
                    edge(1 + d, 1 + len(demands) + placed[index], group_size[groups[placed[index]]])
    graph = coo_array((np.array(capacities, dtype=np.int32), (rows, columns)), shape=(sink + 1, sink + 1)).tocsr()
    return float(maximum_flow(graph, source, sink).flow_value / total)


def _cells(lat: Floats, lng: Floats) -> list[tuple[int, int] | None]:
    known = np.isfinite(lat) & np.isfinite(lng)
    row = np.floor(np.where(known, lat, 0) / GRID_DEGREES).astype(int).tolist()
    column = np.floor(np.where(known, lng, 0) / GRID_DEGREES).astype(int).tolist()
    return [(r, c) if k else None for r, c, k in zip(row, column, known.tolist(), strict=True)]


def _centres(cells: list) -> Floats:
    corners = np.array(cells, dtype=float)
    return unit_vectors((corners[:, 0] + 0.5) * GRID_DEGREES, (corners[:, 1] + 0.5) * GRID_DEGREES)


def distribution(lawyers: Lawyers, cases: Cases) -> dict[str, Any]:
    """Everything about one window, ready to be stored; figures that do not exist for want of data are None.

    Keys: lawyers, offers, cases, gini, coverage, coverage_bound, spread_points (worst pool), demand_ratio, pools (list
    of dicts pool, lawyers, offers, gini, coverage, spread_points, utilisation; largest first, under 20 left out).
    """
    u = utilisation(lawyers)
    counted = eligible(lawyers, cases) & (lawyers.active_share > LEAST_SHARE)
    uf = nearest_state(lawyers.lat, lawyers.lng)
    names = np.array([f"{area or UNKNOWN} · {state}" for area, state in zip(lawyers.primary_area, uf, strict=True)])
    pools: list[dict[str, Any]] = []
    for name in np.unique(names[counted]):
        here = counted & (names == name)
        if here.sum() >= LEAST_POOL:
            low, high = np.percentile(u[here], [5, 95])
            pools.append(
                {
                    "pool": str(name),
                    "lawyers": int(here.sum()),
                    "offers": int(lawyers.offers[here].sum()),
                    "gini": _number(gini(u[here])),
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
        "gini": _number(gini(u[counted])),
        "coverage": _number((lawyers.offers[counted] > 0).mean() if counted.any() else float("nan")),
        "coverage_bound": _number(coverage_bound(lawyers, cases, counted)),
        "spread_points": max((pool["spread_points"] for pool in pools), default=None),
        "demand_ratio": len(cases.area) / room if room else None,
        "pools": sorted(pools, key=lambda pool: (-pool["lawyers"], pool["pool"])),
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
