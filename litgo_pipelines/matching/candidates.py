"""Candidates: which lawyers are eligible for which case of a batch, and the features of each pair.

One query brings everybody near the batch's cases as columns, by spatial and array index; distances, eligibility and
features are then arrays. Knows the database, not Dagster. Formulas of features: `features.py`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Floats, Ints
from litgo_pipelines.database import Connection, Cursor, sql
from litgo_pipelines.database.arrow import read
from litgo_pipelines.embeddings import store
from litgo_pipelines.equity import availability
from litgo_pipelines.equity.capacity import DEFAULT_RULES
from litgo_pipelines.marketplace.geo import EARTH_RADIUS_KM, unit_vectors
from litgo_pipelines.matching import day_limit, features
from litgo_pipelines.matching.allocation import NEVER, OFFERS_PER_CASE
from litgo_pipelines.matching.momentum import tenure
from litgo_pipelines.matching.statements import PACKAGE, statement
from litgo_pipelines.models.features import BASE, FEATURES, MOMENTUM_KEYS

if TYPE_CHECKING:
    import pyarrow as pa

TILE_DEGREES = 1.0  # cases of one tile share a region of the query
KM_PER_DEGREE = 111.0  # of latitude, at least: boxes must not be too small
ANYWHERE = np.inf  # as a radius
CROWD = 500  # lawyers in the regions; from here on tables are read whole

_COLUMNS = [
    "area",
    "degree",
    "lng",
    "lat",
    "capacity",
    "cases_30d",
    "joined",
    "offers_30d",
    "offers_1d",
    "offers_3d",
    "offers_10d",
    "last_offered",
    "concluded",
    "won",
    "years",
    "publications",
    "response_h",
    "stars",
    "reviews",
    "softskill",
    "twin",
    "account",
    "tenure_days",
    *MOMENTUM_KEYS,
]


class _Region(TypedDict):
    box: str  # of Postgres
    areas: list[str]


@dataclass(frozen=True)
class Cases:
    """The batch's cases as columns, in the order of their turn; `area`, `subarea`: numbers into the names."""

    ids: list[str]
    clients: list[str]
    rounds: list[int]
    area_names: list[str]
    subarea_names: list[tuple[str, str]]  # (area, subarea)
    area: Ints
    subarea: Ints
    urgency_h: Floats
    complexity: list[str]
    preset: list[str]
    lat: Floats  # degrees; NaN: served from anywhere
    lng: Floats
    waited: Floats  # seconds from its creation to the batch; NaN: not its first offers, or it waited for somebody

    def take(self, rows: Ints) -> "Cases":
        """Some of the cases."""
        columns: dict[str, Any] = {
            name: values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows]
            for name, values in vars(self).items()
            if not name.endswith("_names")
        }
        return replace(self, **columns)


@dataclass(frozen=True)
class Lawyers:
    """The lawyers near a batch as columns, ordered by id, so that a row number settles ties as the id does."""

    ids: list[str]
    position: Floats  # (n, 3) on the unit sphere, NaN when unknown
    lat: Floats
    capacity: Floats
    cases_30d: Floats
    joined: Floats  # seconds since the epoch
    active_share: Floats  # of the demand of the last 30 days: `with_shares`
    offers_30d: Floats  # changed by reservations
    offers_in: Floats  # (spans, n): in the days of `day_limit.SPANS`; changed by reservations
    last_offered: Floats  # microseconds, NEVER for none; changed by reservations
    success: Floats  # T over all subareas
    response_h: Floats
    reviews: Floats  # R
    softskill: Floats  # C
    members: list[Ints]  # area number → its lawyers by latitude
    qualification: list[Floats]  # area number → Q of its members
    success_in: dict[int, Floats]  # subarea number → T there of its area's members, NaN without evidence
    momentum: list[Floats]  # area number → what its members did lately in it, (members, len(MOMENTUM_KEYS))
    tenure: Floats
    clients: dict[str, Ints]  # client → lawyers who had a contract with them before


@dataclass(frozen=True)
class Reach:
    """Per case: the radius that was needed (infinite: anywhere), and who is eligible within it, as `eligible` says."""

    radius_km: Floats
    found: list[tuple[Ints, Floats]]


@dataclass(frozen=True)
class Pairs:
    """Eligible pairs of some cases: rows `starts[k]:starts[k + 1]` are those of the k-th case, by row number."""

    starts: Ints  # (cases + 1,)
    lawyer: Ints
    features: Floats  # (pairs, len(BASE)), NaN where there is no evidence


def read_cases(cursor: Cursor, case_ids: Sequence[str], rounds: Sequence[int], preset: str, as_of: datetime) -> Cases:
    """Cases in the given order; `preset` for those that chose none."""
    parameters = {"case_ids": list(case_ids), "rounds": list(rounds), "preset": preset, "as_of": as_of}
    cursor.execute(statement("cases.sql"), parameters)
    rows = cursor.fetchall()
    if len(rows) != len(case_ids):
        raise LookupError(f"{len(case_ids) - len(rows)} cases of the batch are gone from the marketplace")
    ids, clients, area, subarea, urgency, complexity, lng, lat, presets, numbers, waited = (
        list(c) for c in zip(*rows, strict=True)
    )
    area_number = {name: number for number, name in enumerate(sorted(set(area)))}
    pairs_there = list(zip(area, subarea, strict=True))
    subarea_number = {pair: number for number, pair in enumerate(sorted(set(pairs_there)))}
    return Cases(
        ids,
        clients,
        numbers,
        list(area_number),
        list(subarea_number),
        np.array([area_number[name] for name in area]),
        np.array([subarea_number[pair] for pair in pairs_there]),
        np.array(urgency, dtype=float),
        complexity,
        presets,
        np.array(lat, dtype=float),
        np.array(lng, dtype=float),
        np.array(waited, dtype=float),
    )


def read_lawyers(cursor: Cursor, cases: Cases, radius_km: Floats, as_of: datetime) -> Lawyers:
    """Everybody who could be eligible for one of the cases within its radius, as of the instant."""
    identity, c = _columns(_near(cursor, cases, radius_km, as_of))
    number = identity.indices.to_numpy().astype(np.int64)  # rows come by lawyer
    first = np.diff(number, prepend=-1) > 0
    ids = identity.dictionary.to_pylist()
    one = {name: c[name][first] for name in _COLUMNS if name not in MOMENTUM_KEYS}
    members, qualification, momentum = [], [], []
    for area in range(1, len(cases.area_names) + 1):
        (here,) = np.nonzero(c["area"] == area)
        here = here[np.argsort(c["lat"][here], kind="stable")]  # NaN last
        members.append(number[here])
        qualification.append(features.qualification(c["years"][here], c["degree"][here], c["publications"][here]))
        momentum.append(np.column_stack([c[key][here] for key in MOMENTUM_KEYS]))
    return Lawyers(
        ids=ids,
        position=unit_vectors(one["lat"], one["lng"]),
        lat=one["lat"],
        capacity=one["capacity"],
        cases_30d=one["cases_30d"],
        joined=one["joined"],
        active_share=np.ones(len(ids)),
        offers_30d=one["offers_30d"].copy(),
        offers_in=np.stack([one[f"offers_{days}d"] for days in day_limit.SPANS]),
        last_offered=np.where(np.isnan(one["last_offered"]), NEVER, one["last_offered"]),
        success=features.success(one["won"], one["concluded"]),
        response_h=one["response_h"],
        reviews=features.review_score(one["stars"], one["reviews"]),
        softskill=features.soft_skills(one["softskill"]),
        members=members,
        qualification=qualification,
        success_in=_success_in_subareas(cursor, cases, ids, members),
        momentum=momentum,
        tenure=tenure(one["tenure_days"]),
        clients=_known_clients(cursor, cases, ids, as_of),
    )


def _columns(rows: "pa.Table") -> tuple["pa.DictionaryArray", dict[str, Floats]]:
    """(lawyer of each row, column → its values) without the later accounts of one person; takes the table apart."""
    import pyarrow as pa

    identity = rows["lawyer_id"].combine_chunks()
    columns = {}
    for name in _COLUMNS:  # each is let go once it is copied: of a million lawyers they are most of what is held
        columns[name] = rows[name].to_numpy()
        rows = rows.drop_columns([name])
    kept = _one_account(columns["twin"], columns["area"], columns["account"])
    if not kept.all():
        identity, columns = identity.filter(pa.array(kept)), {name: values[kept] for name, values in columns.items()}
    return identity.dictionary_encode(), columns


def _near(cursor: Cursor, cases: Cases, radius_km: Floats, as_of: datetime) -> "pa.Table":
    """Who could be eligible for one of the cases, one row per lawyer and area, ordered by lawyer."""
    import pyarrow as pa

    regions, anywhere = _regions(cases, radius_km)
    boxes = [region["box"] for region in regions]
    # The planner takes a box to hold one lawyer in a thousand, and would look up half a marketplace one by one.
    whole = bool(anywhere) or _crowded(cursor, boxes)
    cursor.execute(f"SET LOCAL enable_nestloop = {'off' if whole else 'on'}")
    rows = read(
        cursor,
        statement("candidates.sql").replace("{momentum}", ", ".join(f"lately.{key}" for key in MOMENTUM_KEYS)),
        {
            "boxes": boxes,
            "box_areas": [json.dumps(region["areas"]) for region in regions],
            "anywhere": anywhere,
            "areas": cases.area_names,
            "as_of": as_of,
            "until": as_of + timedelta(seconds=1),  # a batch's own offers are microseconds after its instant
            "base_capacity": DEFAULT_RULES["base"],
        },
        {"lawyer_id": pa.string(), **dict.fromkeys(_COLUMNS, pa.float64())},
    )
    cursor.execute("SET LOCAL enable_nestloop = on")
    return rows


def _crowded(cursor: Cursor, boxes: list[str]) -> bool:
    cursor.execute(statement("crowd.sql"), {"boxes": boxes, "most": CROWD})
    return cursor.fetchone() == (CROWD,)


def _known_clients(cursor: Cursor, cases: Cases, ids: list[str], as_of: datetime) -> dict[str, Ints]:
    """Client of a case → lawyers (row numbers) who had a contract with them before the instant."""
    import pyarrow as pa
    import pyarrow.compute as pc

    clients = sorted(set(cases.clients))
    pairs = read(
        cursor,
        "SELECT k.client, c.lawyer_id::text FROM unnest(%(clients)s::uuid[]) WITH ORDINALITY AS k (id, client) "
        "JOIN contracts c ON c.client_id = k.id WHERE c.created_at < %(as_of)s",
        {"clients": clients, "as_of": as_of},
        {"client": pa.int64(), "lawyer": pa.string()},
    )
    row = pc.index_in(pairs["lawyer"], value_set=pa.array(ids, pa.string())).fill_null(-1).to_numpy()
    client = pairs["client"].to_numpy()[row >= 0] - 1
    order = np.argsort(client, kind="stable")
    bounds = np.searchsorted(client[order], np.arange(len(clients) + 1))
    rows = np.split(row[row >= 0][order].astype(np.int64), bounds[1:-1])
    return {of: found for of, found in zip(clients, rows, strict=True) if len(found)}


def _one_account(twin: Floats, area: Floats, account: Floats) -> NDArray[np.bool_]:
    """Which rows count: of several accounts of one person (`twin`, NaN for all others) the oldest in each area."""
    kept = np.ones(len(twin), bool)
    (several,) = np.nonzero(~np.isnan(twin))
    order = several[np.lexsort((account[several], area[several], twin[several]))]
    same = (twin[order][1:] == twin[order][:-1]) & (area[order][1:] == area[order][:-1])
    kept[order[1:][same]] = False
    return kept


def barred(cursor: Cursor, cases: Cases, lawyers: Lawyers) -> dict[int, Ints]:
    """Case (row number) → lawyers (row numbers) who were offered it already, whose own it is, or whom it names."""
    cursor.execute(sql(PACKAGE, "barred.sql"), {"case_ids": cases.ids})
    case_row = {case: row for row, case in enumerate(cases.ids)}
    lawyer_row = {lawyer: row for row, lawyer in enumerate(lawyers.ids)} if cursor.rowcount else {}
    found: dict[int, list[int]] = {}
    for case, lawyer in cursor.fetchall():
        if lawyer in lawyer_row:
            found.setdefault(case_row[case], []).append(lawyer_row[lawyer])
    return {case: np.array(rows) for case, rows in found.items()}


def eligible(cases: Cases, lawyers: Lawyers, case: int, radius_km: float, before: Ints | None) -> tuple[Ints, Floats]:
    """(positions among the area's members, km) of who can be offered the case; km is NaN for a case without a place."""
    members = lawyers.members[cases.area[case]]
    placed = np.isfinite(cases.lat[case])
    if np.isinf(radius_km) or not placed:
        positions = np.arange(len(members))
    else:
        band = radius_km / KM_PER_DEGREE
        low, high = np.searchsorted(lawyers.lat[members], [cases.lat[case] - band, cases.lat[case] + band])
        positions = np.arange(low, high)
    km = np.full(len(positions), np.nan)
    if placed:
        here = unit_vectors(cases.lat[case : case + 1], cases.lng[case : case + 1])[0]
        km = EARTH_RADIUS_KM * np.arccos(np.clip(lawyers.position[members[positions]] @ here, -1, 1))
        if np.isfinite(radius_km):
            near = km <= radius_km
            positions, km = positions[near], km[near]
    if before is not None:
        new = ~np.isin(members[positions], before)
        positions, km = positions[new], km[new]
    return positions, km


def reached(cases: Cases, lawyers: Lawyers, reach: Reach, area: int) -> Ints:
    """Positions among the area's members of who is eligible for one of its cases."""
    found = np.zeros(len(lawyers.members[area]), bool)
    for row in np.flatnonzero(cases.area == area):
        found[reach.found[row][0]] = True
    return np.flatnonzero(found)


def similar(
    connection: Connection, cases: Cases, lawyers: Lawyers, reach: Reach, as_of: datetime, model: str, until: int
) -> tuple[str, list[NDArray[np.float32]]]:
    """(space, S of each case with those eligible for it, in the order of `reach.found`, NaN where a text is missing).

    `model`, `until`: of `store.read_similarity`. Memory: 4 bytes per eligible pair, and 4 bytes per case and lawyer of
    one area at a time.
    """
    space, found = store.NO_SPACE, [np.empty(0, np.float32)] * len(cases.ids)
    for area, members in enumerate(lawyers.members):
        rows = np.flatnonzero(cases.area == area)
        used = reached(cases, lawyers, reach, area)
        here = store.read_similarity(
            connection,
            [cases.ids[row] for row in rows],
            [lawyers.ids[k] for k in members[used]],
            as_of,
            model=model,
            until=until,
        )
        space = space or here.space
        for values, row in zip(here.values, rows, strict=True):
            found[row] = values[np.searchsorted(used, reach.found[row][0])]
    return space, found


def pairs(
    cases: Cases,
    lawyers: Lawyers,
    rows: Sequence[int],
    reach: Reach,
    similarity: Sequence[NDArray[np.float32]] | None = None,
) -> Pairs:
    """The eligible pairs of some cases (none without candidates) with their features.

    `similarity`: of every case, as `similar` returns it; without it S is missing for everybody.
    """
    found = [reach.found[case] for case in rows]
    areas, subareas = cases.area[list(rows)], cases.subarea[list(rows)]
    sizes = np.array([len(positions) for positions, _ in found])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    of_case = np.repeat(np.arange(len(rows)), sizes)
    lawyer = np.concatenate([lawyers.members[a][positions] for a, (positions, _) in zip(areas, found, strict=True)])
    radius = np.minimum(reach.radius_km, features.COUNTRY_KM)[list(rows)]
    matrix = np.empty((len(lawyer), len(BASE)))
    matrix[:, 0] = 1.0  # A: who is eligible works in the area
    matrix[:, 1] = np.nan  # S
    if similarity is not None:
        matrix[:, 1] = features.bounded(np.concatenate([similarity[case] for case in rows]).astype(np.float64))
    matrix[:, 2] = lawyers.success[lawyer]
    for k, number in enumerate(subareas.tolist()):
        if number in lawyers.success_in:
            here = slice(starts[k], starts[k + 1])
            there = lawyers.success_in[number][found[k][0]]
            matrix[here, 2] = np.where(np.isnan(there), matrix[here, 2], there)
    matrix[:, 3] = features.closeness(np.concatenate([km for _, km in found]), radius[of_case])
    matrix[:, 4] = np.concatenate(
        [lawyers.qualification[a][positions] for a, (positions, _) in zip(areas, found, strict=True)]
    )
    matrix[:, 5] = features.urgency_capacity(lawyers.response_h[lawyer], cases.urgency_h[list(rows)][of_case])
    matrix[:, 6] = lawyers.reviews[lawyer]
    matrix[:, 7] = lawyers.softskill[lawyer]
    lately = slice(len(FEATURES), len(FEATURES) + len(MOMENTUM_KEYS))
    matrix[:, lately] = np.concatenate(
        [lawyers.momentum[a][positions] for a, (positions, _) in zip(areas, found, strict=True)]
    )
    known = [lawyers.clients.get(cases.clients[case], np.empty(0, np.int64)) for case in rows]
    matrix[:, -2] = np.concatenate(
        [np.isin(lawyer[starts[k] : starts[k + 1]], before) for k, before in enumerate(known)]
    )
    matrix[:, -1] = lawyers.tenure[lawyer]
    return Pairs(starts, lawyer, matrix)


def search(cursor: Cursor, cases: Cases, radii_km: Sequence[float], as_of: datetime) -> tuple[Lawyers, Reach]:
    """The lawyers, and for each case the smallest radius with five eligible ones, in steps, in the end anywhere."""
    steps = np.array([*radii_km, ANYWHERE])
    level = np.where(np.isfinite(cases.lat), 0, len(radii_km))
    lawyers, reach = _reach(cursor, cases, steps[level], as_of)
    short = _short(reach, level, radii_km)
    if not len(short):
        return with_shares(cursor, lawyers, as_of), reach
    # Only the cases that are short ask again; then everybody is read once more with the radii found,
    # unless all of them were short to the end.
    while len(short):
        level[short] += 1
        asked = len(short)
        lawyers, reach = _reach(cursor, cases.take(short), steps[level[short]], as_of)
        short = short[_short(reach, level[short], radii_km)]
    if asked < len(cases.ids):
        lawyers, reach = _reach(cursor, cases, steps[level], as_of)
    return with_shares(cursor, lawyers, as_of), reach


def with_shares(cursor: Cursor, lawyers: Lawyers, as_of: datetime) -> Lawyers:
    """The same, with the share of the last 30 days' demand that came while each could be offered it."""
    return replace(lawyers, active_share=availability.shares_of(lawyers.ids, *availability.read_shares(cursor, as_of)))


def _reach(cursor: Cursor, cases: Cases, radius_km: Floats, as_of: datetime) -> tuple[Lawyers, Reach]:
    lawyers = read_lawyers(cursor, cases, radius_km, as_of)
    before = barred(cursor, cases, lawyers)
    found = [eligible(cases, lawyers, case, float(radius_km[case]), before.get(case)) for case in range(len(cases.ids))]
    return lawyers, Reach(radius_km, found)


def _short(reach: Reach, level: Ints, radii_km: Sequence[float]) -> Ints:
    """Cases with fewer than five eligible lawyers whose radius can still grow."""
    return np.flatnonzero(
        (np.array([len(positions) for positions, _ in reach.found]) < OFFERS_PER_CASE) & (level < len(radii_km))
    )


def _regions(cases: Cases, radius_km: Floats) -> tuple[list[_Region], list[str]]:
    """Boxes that hold everything within the radius of the cases of a tile, with their areas; areas without a place."""
    tiles: dict[tuple[int, int, float], set[str]] = {}
    anywhere: set[str] = set()
    for area, lat, lng, radius in zip(cases.area, cases.lat, cases.lng, radius_km, strict=True):
        name = cases.area_names[area]
        if np.isinf(radius) or not np.isfinite(lat):
            anywhere.add(name)
        else:
            tiles.setdefault((int(lat // TILE_DEGREES), int(lng // TILE_DEGREES), float(radius)), set()).add(name)
    regions: list[_Region] = []
    for (row, column, radius), areas in sorted(tiles.items()):
        south, north = row * TILE_DEGREES - radius / KM_PER_DEGREE, (row + 1) * TILE_DEGREES + radius / KM_PER_DEGREE
        # a degree of longitude is shortest at the edge farther from the equator
        narrow = KM_PER_DEGREE * np.cos(np.radians(min(max(abs(south), abs(north)), 89.0)))
        west, east = column * TILE_DEGREES - radius / narrow, (column + 1) * TILE_DEGREES + radius / narrow
        regions.append({"box": f"({west},{south}),({east},{north})", "areas": sorted(areas - anywhere)})
    return [region for region in regions if region["areas"]], sorted(anywhere)


def _success_in_subareas(cursor: Cursor, cases: Cases, ids: list[str], members: Sequence[Ints]) -> dict[int, Floats]:
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = read(
        cursor,
        sql(PACKAGE, "subareas.sql"),
        {"areas": [a for a, _ in cases.subarea_names], "subareas": [s for _, s in cases.subarea_names]},
        {"lawyer_id": pa.string(), "subarea": pa.int64(), "concluded": pa.float64(), "won": pa.float64()},
    )
    subarea = rows["subarea"].to_numpy() - 1
    where = pc.index_in(rows["lawyer_id"], value_set=pa.array(ids, pa.string())).fill_null(-1).to_numpy()
    here = where >= 0
    rate = features.success(rows["won"].to_numpy(), rows["concluded"].to_numpy())
    found = {}
    for number in np.unique(subarea[here]).tolist():
        values = np.full(len(ids), np.nan)
        rows_here = here & (subarea == number)
        values[where[rows_here]] = rate[rows_here]
        found[number] = values[members[cases.area_names.index(cases.subarea_names[number][0])]]
    return found
