"""Marketplace rows from the arrays of `truth`, as Arrow tables with the columns COPY takes.

Pure. Column by column: no loop over offers, matches, cases, contracts or reviews.
"""

import json
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from litgo_pipelines.marketplace.geo import states
from litgo_pipelines.models.features import FEATURES
from litgo_pipelines.models.heuristic import HEURISTIC_WEIGHTS
from litgo_pipelines.simulation import words
from litgo_pipelines.simulation.truth import DAY, EQUITY_WEIGHT, Events, Market, World, sigmoid

ID_PREFIX = "51a1"  # every simulated id starts with it
CLIENT, LAWYER, CASE, OFFER, CONTRACT, REVIEW = range(1, 7)

_HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint8).reshape(256, 2)
_HYPHENS = (8, 13, 18, 23)
_DIGITS = np.array([i for i in range(36) if i not in _HYPHENS])
# Logged features have three decimals: 1,001 texts and one for "no evidence".
_FEATURE_TEXT = pa.array([*(f"{i / 1000:g}" for i in range(1001)), "null"])
# What was imputed, as a bit a feature; then the rank, as digits of base 256.
_IMPUTED = [json.dumps([key for bit, key in enumerate(FEATURES) if mask >> bit & 1]) for mask in range(256)]
_BREAKDOWN = pa.array([f'{{"rank": {rank}, "imputed": {keys}}}' for rank in range(6) for keys in _IMPUTED])
_AREA_NAMES = list(words.AREAS)
_WEIGHTS_USED = json.dumps({key: round(w / sum(HEURISTIC_WEIGHTS.values()), 4) for key, w in HEURISTIC_WEIGHTS.items()})


def uuids(kind: int, index: NDArray, seed: int) -> pa.Array:
    """Identifiers of things number `index` of a kind: distinct, in no telling order, version 4 in form.

    Bytes: 51 a1, kind, and the number mixed by the (invertible) SplitMix64 finaliser (Steele, Lea & Flood, OOPSLA
    2014) around the version and variant, then three bytes of the seed.
    """
    mixed = index.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + kind) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    octets = np.empty((len(index), 16), np.uint8)
    octets[:, :3] = (0x51, 0xA1, kind)
    octets[:, [3, 4, 5, 7, 9, 10, 11, 12]] = mixed.astype(">u8").view(np.uint8).reshape(-1, 8)
    octets[:, 6], octets[:, 8] = 0x40, 0x80
    octets[:, 13:] = np.frombuffer((seed % 2**24).to_bytes(3, "big"), np.uint8)
    text = np.full((len(index), 36), ord("-"), np.uint8)
    text[:, _DIGITS] = _HEX[octets].reshape(-1, 32)
    fixed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(36), len(index), [None, pa.py_buffer(text)])
    return fixed.cast(pa.binary()).cast(pa.string())


def instants(seconds: NDArray) -> pa.Array:
    """Seconds since the epoch, negative for null."""
    return pa.array(seconds, pa.timestamp("s", tz="UTC"), mask=seconds < 0)


def pick(values: Sequence[str | None], index: NDArray) -> pa.Array:
    return pa.array(values, pa.string()).take(pa.array(index))


def join(*parts: pa.Array | str) -> pa.Array:
    """Texts side by side; null where a part is null."""
    return pc.binary_join_element_wise(*parts, "")


def text(numbers: NDArray) -> pa.Array:
    return pa.array(numbers).cast(pa.string())


def points(lat: NDArray, lng: NDArray) -> pa.Array:
    return join("(", text(lng), ",", text(lat), ")")


def json_object(columns: Iterable[tuple[str, pa.Array]]) -> pa.Array:
    """One JSON object a row from columns that hold JSON values as text."""
    parts: list[pa.Array | str] = []
    for position, (key, values) in enumerate(columns):
        parts += [f'{"," if position else "{"}"{key}":', values]
    return join(*parts, "}")


def names(rng: np.random.Generator, n: int) -> pa.Array:
    first = pick(words.FIRST_NAMES, rng.integers(0, len(words.FIRST_NAMES), n))
    middle, last = (pick(words.SURNAMES, rng.integers(0, len(words.SURNAMES), n)) for _ in range(2))
    return join(first, " ", middle, " ", last)


def _people(
    ids: pa.Array, kind: str, number: pa.Array, full_name: pa.Array, created: NDArray, reachable: NDArray
) -> pa.Table:
    return pa.table(
        {
            "id": ids,
            "email": join(f"{kind}", number, "@example.com"),
            "full_name": full_name,
            "push_token": pc.if_else(pa.array(reachable), _tokens(kind, number), pa.scalar(None, pa.string())),
            "ai_consent": pa.repeat(True, len(ids)),  # what needs no consent is the same for the simulation
            "created_at": instants(created),
        }
    )


def _tokens(kind: str, number: pa.Array) -> pa.Array:
    """Push tokens as OneSignal's are: UUIDs."""
    return join(f"{sum(kind.encode()):08x}-0000-4000-8000-", pc.utf8_lpad(pc.cast(number, pa.string()), 12, "0"))


def clients(world: World) -> pa.Table:
    rng, n = world.rng(4), world.clients
    # Registered before the first case of the window, whichever is theirs.
    created = world.start - rng.integers(1, 365 * DAY, n)
    return people(rng, np.arange(n), created, world.seed)


def people(rng: np.random.Generator, index: NDArray, created: NDArray, seed: int) -> pa.Table:
    """Profiles of clients number `index`."""
    n = len(index)
    ids, full_name = uuids(CLIENT, index, seed), names(rng, n)
    return _people(ids, "cliente", text(index), full_name, created, rng.random(n) < 0.7)


def lawyers(market: Market) -> tuple[pa.Table, pa.Table]:
    """The lawyers as they stand at the end (load columns left to the nightly equity run), and their profiles."""
    world, them = market.world, market.lawyers
    rng, n = world.rng(5), world.lawyers
    ids, full_name = uuids(LAWYER, np.arange(n), world.seed), names(rng, n)
    everything = np.arange(n)
    uf = [state.uf for state in states()]
    mean = np.round(market.stars / np.maximum(market.reviews, 1), 2)
    kpi, kpi_subarea, curriculum = _profiles(market)
    stop_day = world.stop // DAY
    table = pa.table(
        {
            "id": ids,
            "name": full_name,
            # No registration number looks like this.
            "oab_number": join("OAB/", pick(uf, them.uf), " SIM-", text(everything)),
            "primary_area": pick(_AREA_NAMES, them.primary_area),
            "tags_expertise": pa.array(
                ["{" + ",".join(f'"{_AREA_NAMES[a]}"' for a in np.flatnonzero(row)) + "}" for row in them.areas]
            ),
            "geo_latlon": points(them.lat, them.lng),
            "lat": them.lat,
            "lng": them.lng,
            "is_available": them.available,
            "is_approved": np.ones(n, bool),
            "status": pick(("inactive", "active"), them.available.astype(np.int64)),
            "rating": pa.array(mean, mask=market.reviews == 0),
            "review_count": market.reviews,
            "kpi": pa.array(kpi),
            "kpi_subarea": pa.array(kpi_subarea),
            "kpi_softskill": pa.array(them.softskill, mask=np.isnan(them.softskill)),
            "curriculo_json": pa.array(curriculum, pa.string()),
            "max_concurrent_cases": pa.array(them.max_concurrent, mask=them.max_concurrent < 0),
            "oab_inscription_date": pa.array((stop_day - them.years * 365.25).astype(np.int32), pa.date32()),
            "created_at": instants(them.joined),
            "updated_at": instants(np.full(n, world.stop)),
        }
    )
    return table, _people(ids, "advogado", text(everything), full_name, them.joined, rng.random(n) < 0.8)


def _profiles(market: Market) -> tuple[list[str], list[str], list[str | None]]:
    """What each lawyer's profile says in JSON: the record, the record in the best subarea, the curriculum."""
    them, n = market.lawyers, market.world.lawyers
    rate = np.round((market.won + 1) / (market.concluded + 2), 3)
    mean = np.round(market.stars / np.maximum(market.reviews, 1), 2)
    best_rate = np.round(sigmoid(np.log(rate / (1 - rate)) + 0.4), 3)
    speciality = them.speciality[np.arange(n), them.primary_area]
    kpi, kpi_subarea, curriculum = [], [], []
    for i in range(n):
        known = market.concluded[i] > 0
        # A newcomer without a concluded case has an empty record, not a bad one.
        record = {
            "success_rate": float(rate[i]) if known else None,
            "avaliacao_media": float(mean[i]) if market.reviews[i] else None,
            "tempo_resposta_h": float(them.response_h[i]) if not np.isnan(them.response_h[i]) else None,
            "cv_score": round(float(them.qualification[i]), 3) if them.profile[i] else None,
            "success_status": ("V" if market.concluded[i] >= 5 else "P") if known else "N",
        }
        kpi.append(json.dumps({key: value for key, value in record.items() if value is not None}))
        area = _AREA_NAMES[them.primary_area[i]]
        subarea = words.AREAS[area][1][speciality[i]]
        kpi_subarea.append(json.dumps({f"{area}/{subarea}": float(best_rate[i])} if known else {}, ensure_ascii=False))
        degree = words.DEGREES[them.degree[i]]
        curriculo = {
            "anos_experiencia": int(them.years[i]),
            "pos_graduacoes": [{"nivel": degree, "area": area}] if degree else [],
            "num_publicacoes": int(them.publications[i]),
        }
        if firm := words.FIRM_SIZES[them.firm[i]]:
            curriculo["porte_escritorio"] = firm
        curriculum.append(json.dumps(curriculo, ensure_ascii=False) if them.profile[i] else None)
    return kpi, kpi_subarea, curriculum


def tables(events: Events, seed: int) -> dict[str, pa.Table]:
    """The rows of one batch of events, by table, in an order that satisfies the foreign keys."""
    return {
        "cases": cases(events["cases"], seed),
        "case_matches": case_matches(events["offers"], seed),
        "offers": offers(events["offers"], seed),
        "contracts": contracts(events["contracts"], seed),
        "reviews": reviews(events["reviews"], seed),
    }


def cases(a: dict[str, NDArray], seed: int) -> pa.Table:
    subareas = [subarea for _, all_of_it in words.AREAS.values() for subarea in all_of_it]
    first = np.cumsum([0, *(len(all_of_it) for _, all_of_it in words.AREAS.values())])
    subarea = first[a["area"]] + a["subarea"]
    capitals = [state.capital for state in states()]
    # Every text there is, once; a case picks its own.
    titles = [f"{name} — {capital}" for name in subareas for capital in capitals]
    stories = [
        story.format(subarea=name.lower() if not name[:2].isupper() else name, capital=capital)
        for story in words.DESCRIPTIONS
        for name in subareas
        for capital in capitals
    ]
    where = subarea * len(capitals) + a["uf"]
    return pa.table(
        {
            "id": uuids(CASE, a["index"], seed),
            "client_id": uuids(CLIENT, a["client"], seed),
            "title": pick(titles, where),
            "description": pick(stories, a["text"] * len(titles) + where),
            "area": pick(_AREA_NAMES, a["area"]),
            "subarea": pick(subareas, subarea),
            "urgency_h": a["urgency_h"],
            "complexity": pick(("LOW", "MEDIUM", "HIGH"), a["complexity"]),
            "coords": points(a["lat"], a["lng"]),
            "lat": a["lat"],
            "lng": a["lng"],
            "status": pick(("pending_assignment", "assigned", "in_progress", "closed", "cancelled"), a["status"]),
            "created_at": instants(a["created"]),
        }
    )


def case_matches(a: dict[str, NDArray], seed: int) -> pa.Table:
    logged = np.where(np.isnan(a["features"]), 1001, np.rint(a["features"] * 1000)).astype(np.int16)
    n = len(a["case"])
    return pa.table(
        {
            "case_id": uuids(CASE, a["case"], seed),
            "lawyer_id": uuids(LAWYER, a["lawyer"], seed),
            "fair_score": a["fair"],
            "equity_score": a["equity"],
            "raw_score": a["raw"],
            "features": json_object(
                (key, _FEATURE_TEXT.take(pa.array(logged[:, column]))) for column, key in enumerate(FEATURES)
            ),
            "breakdown": _BREAKDOWN.take(pa.array(a["rank"] * 256 + a["imputed"] @ (1 << np.arange(len(FEATURES))))),
            "weights_used": pa.repeat(_WEIGHTS_USED, n),
            "preset_used": pa.repeat("balanced", n),
            "created_at": instants(a["matched"]),
        }
    )


def offers(a: dict[str, NDArray], seed: int) -> pa.Table:
    return pa.table(
        {
            "id": uuids(OFFER, a["index"], seed),
            "case_id": uuids(CASE, a["case"], seed),
            "lawyer_id": uuids(LAWYER, a["lawyer"], seed),
            "status": pick(("pending", "interested", "declined", "expired"), a["status"]),
            "sent_at": instants(a["sent"]),
            "responded_at": instants(a["responded"]),
            "expires_at": instants(a["sent"] + DAY),
            "fair_score": a["fair"],
            "raw_score": a["raw"],
            "equity_weight": np.full(len(a["case"]), EQUITY_WEIGHT),
            "last_offered_at": instants(a["last_offer"]),
            "created_at": instants(a["sent"]),
        }
    )


def contracts(a: dict[str, NDArray], seed: int) -> pa.Table:
    numbers = ((CONTRACT, "index"), (CASE, "case"), (LAWYER, "lawyer"), (CLIENT, "client"))
    return contract_table(a, *(uuids(kind, a[name], seed) for kind, name in numbers))


def contract_table(
    a: dict[str, NDArray], ids: pa.Array, case_ids: pa.Array, lawyer_ids: pa.Array, client_ids: pa.Array
) -> pa.Table:
    signed = (a["signed_client"] >= 0) & (a["signed_lawyer"] >= 0)
    return pa.table(
        {
            "id": ids,
            "case_id": case_ids,
            "lawyer_id": lawyer_ids,
            "client_id": client_ids,
            "status": pick(("pending-signature", "active", "closed", "canceled"), a["status"]),
            "fee_model": pick(words.FEE_MODELS, a["fee"]),
            "signed_client": instants(a["signed_client"]),
            "signed_lawyer": instants(a["signed_lawyer"]),
            "doc_url": pc.if_else(
                pa.array(signed), join("https://example.com/contratos/", ids), pa.scalar(None, pa.string())
            ),
            "created_at": instants(a["created"]),
        }
    )


def reviews(a: dict[str, NDArray], seed: int) -> pa.Table:
    numbers = ((REVIEW, "index"), (CONTRACT, "contract"), (LAWYER, "lawyer"), (CLIENT, "client"))
    return review_table(a, *(uuids(kind, a[name], seed) for kind, name in numbers))


def review_table(
    a: dict[str, NDArray], ids: pa.Array, contract_ids: pa.Array, lawyer_ids: pa.Array, client_ids: pa.Array
) -> pa.Table:
    texts = [comment for rating in range(1, 6) for comment in (*words.COMMENTS[rating], None)]
    return pa.table(
        {
            "id": ids,
            "contract_id": contract_ids,
            "lawyer_id": lawyer_ids,
            "client_id": client_ids,
            "rating": a["rating"],
            "comment": pick(texts, (a["rating"] - 1) * 4 + a["comment"]),
            "outcome": pick(("won", "lost", "settled", "ongoing"), a["outcome"]),
            "communication_rating": a["communication"],
            "expertise_rating": a["expertise"],
            "timeliness_rating": a["timeliness"],
            "would_recommend": a["rating"] >= 4,
            "created_at": instants(a["created"]),
        }
    )
