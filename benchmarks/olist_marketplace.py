"""Real orders as a marketplace of cases: who could have been offered each case, and what was known of them then.

Belongs here: reading the Olist files, the reconstructed candidate lists and their features; pandas and numpy only.
Loading, running and reporting are in `olist_replay.py`.

Sellers stand for lawyers, an order for a case, the category of its first item for the case's area, the purchase of
that item for a contract with its seller. Olist logged no candidate list, no exposure and no answer: the candidates
here are reconstructed.

One rule holds for everything computed for a case: only events strictly before its purchase count. A review counts from
the moment it was answered, which is after its creation date: the score does not exist before.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from litgo_pipelines.arrays import Ints
from litgo_pipelines.marketplace.geo import EARTH_RADIUS_KM, unit_vectors
from litgo_pipelines.matching import momentum
from litgo_pipelines.models.features import FEATURES, KEYS, with_ranks
from litgo_pipelines.models.heuristic import score

TIMEZONE = "America/Sao_Paulo"  # the files have local times without a zone
DAY = 86_400
ACTIVE_SECONDS = 180 * DAY  # a candidate sold in the category in the 180 days before
RADIUS_KM = 2000.0  # G: parcels travel the whole country
RESPONSE_SECONDS = 7 * DAY  # U: a week from approval to the carrier counts as no responsiveness
FULL_TRUST_REVIEWS = 5  # R
EXPERIENCED_ORDERS, EXPERIENCED_SECONDS = 200, 365 * DAY  # Q: from here on experience is complete
RECENT_DAYS = 30  # half-life of the rule to beat
NIGHT = "2h30min"
NEW_TO_CATEGORY = "the seller had no sale in the category in the 180 days before"


@dataclass(frozen=True)
class Olist:
    """`orders`: one row an order, by time of purchase; `seller` and `area` are codes of the first item (-1 unknown).
    `sales`: one row an order, seller and area (code) in it. `sellers`: one row a seller code. `areas`: code → name.
    """

    orders: pd.DataFrame
    sales: pd.DataFrame
    sellers: pd.DataFrame
    areas: list[str]


@dataclass(frozen=True)
class Candidates:
    """`pairs`: one row per case (row number of `orders`) and candidate (seller code), ordered by both: the features,
    raw_score by the heuristic ranker, `bought`, and two rules of one line: `popularity` (the candidate's earlier sales
    in the category) and `recent` (the same, each weighed by 2^(−age / 30 days)).
    `dropped`: why orders have no candidates.
    """

    pairs: pd.DataFrame
    dropped: dict[str, int]


class Past:
    """Events per key, to be asked how many there were, and what they summed to, strictly before an instant."""

    def __init__(self, key: Ints, at: Ints, **values: NDArray) -> None:
        order = np.lexsort((at, key))
        self._index = _packed(key[order], at[order])
        self._totals = {name: np.concatenate([[0.0], np.cumsum(v[order], dtype=float)]) for name, v in values.items()}

    def _position(self, key: Ints, before: Ints | int) -> Ints:
        return np.searchsorted(self._index, _packed(key, before), side="left")

    def count(self, key: Ints, before: Ints, since: Ints | int = 0) -> Ints:
        """Events of `key` in [since, before), seconds since the epoch; shape of `key`."""
        return self._position(key, before) - self._position(key, since)

    def total(self, name: str, key: Ints, before: Ints) -> NDArray[np.float64]:
        """Sum of the value `name` over the events of `key` before the instant; shape of `key`."""
        totals = self._totals[name]
        return totals[self._position(key, before)] - totals[self._position(key, 0)]


def _packed(key: Ints, at: Ints | int) -> Ints:
    return (key.astype(np.int64) << 40) | at


def seconds(instants: pd.Series) -> Ints:
    """Seconds since the epoch; of missing instants 0."""
    return instants.dt.as_unit("s").astype("int64").where(instants.notna(), 0).to_numpy()


def read(folder: Path, first_orders: int | None = None) -> Olist:
    """The files of `folder`; with `first_orders` only that many orders, the earliest, and what belongs to them.

    Instants are aware, in UTC. Raises FileNotFoundError when a file is missing, ValueError without an order.
    """
    orders = _csv(folder, "orders").rename(
        columns={
            "order_status": "status",
            "order_purchase_timestamp": "purchased",
            "order_approved_at": "approved",
            "order_delivered_carrier_date": "shipped",
            "order_delivered_customer_date": "delivered",
            "order_estimated_delivery_date": "promised",
        }
    )
    if orders.empty:
        raise ValueError(f"{folder}: the files hold no orders")
    instants = ["purchased", "approved", "shipped", "delivered", "promised"]
    for name in instants:
        orders[name] = pd.to_datetime(orders[name])
    orders = orders.sort_values(["purchased", "order_id"]).head(first_orders or len(orders)).reset_index(drop=True)
    # The promise is a day; a day is compared as one, before zones come into it.
    orders["on_time"] = orders["delivered"].dt.normalize() <= orders["promised"]
    for name in instants:
        orders[name] = utc(orders[name])

    clients = _csv(folder, "customers").rename(columns={"customer_unique_id": "client"})
    clients[["lat", "lng"]] = _places(folder, clients, "customer")
    orders = orders.merge(clients[["customer_id", "client", "lat", "lng"]], on="customer_id", validate="one_to_one")
    orders = orders.merge(_reviews(folder), on="order_id", how="left", validate="one_to_one")
    # Some answers stand before the purchase they are about: nothing of an order is known before the order.
    orders["answered"] = orders["answered"].where(~(orders["answered"] < orders["purchased"]), orders["purchased"])

    items = _csv(folder, "order_items").merge(
        _csv(folder, "products")[["product_id", "product_category_name"]], on="product_id", how="left"
    )
    items = items[items["order_id"].isin(orders["order_id"])]
    items["order_item_id"] = items["order_item_id"].astype(int)
    items = items.sort_values(["order_id", "order_item_id"])
    sellers = _csv(folder, "sellers").rename(columns={"seller_id": "id"})
    sellers[["lat", "lng"]] = _places(folder, sellers, "seller")
    sellers = sellers[sellers["id"].isin(items["seller_id"])].sort_values("id").reset_index(drop=True)
    areas = sorted(items["product_category_name"].dropna().unique())
    items["seller"] = pd.Index(sellers["id"]).get_indexer(items["seller_id"])
    items["area"] = pd.Index(areas).get_indexer(items["product_category_name"])
    items["order"] = pd.Index(orders["order_id"]).get_indexer(items["order_id"])

    first = items.drop_duplicates("order").set_index("order")
    for name in ("seller", "area"):
        orders[name] = first[name].reindex(orders.index, fill_value=-1)
    sales = items.drop_duplicates(["order", "seller", "area"])[["order", "seller", "area"]].reset_index(drop=True)
    sellers["first_sale"] = sales.groupby("seller")["order"].min().map(orders["purchased"])
    return Olist(
        orders.drop(columns=["customer_id", "promised"]), sales, sellers[["id", "lat", "lng", "first_sale"]], areas
    )


def _csv(folder: Path, name: str) -> pd.DataFrame:
    # everything as text: zip prefixes have leading zeros
    return pd.read_csv(folder / f"olist_{name}_dataset.csv", dtype=str)


def utc(local: pd.Series) -> pd.Series:
    """Naive São Paulo times as instants. Of an hour that the clocks went through twice, its first passage."""
    doubtful = np.ones(len(local), dtype=bool)
    zoned = local.dt.as_unit("s").dt.tz_localize(TIMEZONE, ambiguous=doubtful, nonexistent="shift_forward")
    return zoned.dt.tz_convert("UTC")


def _reviews(folder: Path) -> pd.DataFrame:
    """One review an order: the one created first."""
    reviews = _csv(folder, "order_reviews")
    for name in ("review_creation_date", "review_answer_timestamp"):
        reviews[name] = utc(pd.to_datetime(reviews[name]))
    reviews = reviews.sort_values(["review_creation_date", "review_answer_timestamp", "review_id"])
    reviews = reviews.drop_duplicates("order_id")
    return pd.DataFrame(
        {
            "order_id": reviews["order_id"],
            "stars": reviews["review_score"].astype(float),
            "review_created": reviews["review_creation_date"],
            "answered": reviews["review_answer_timestamp"],
        }
    )


def _places(folder: Path, people: pd.DataFrame, who: str) -> NDArray[np.float64]:
    """Latitude and longitude, shape (people, 2): of the zip prefix, else of the city's centre, else NaN."""
    zips = pd.read_parquet(folder / "zip_geo.parquet").set_index("zip")[["lat", "lng"]]
    cities = pd.read_parquet(folder / "municipios.parquet").drop_duplicates("key").set_index("key")
    by_zip = zips.reindex(people[f"{who}_zip_code_prefix"].str.zfill(5)).to_numpy()
    key = people[f"{who}_city"].str.strip() + "|" + people[f"{who}_state"]
    by_city = cities.reindex(key)[["latitude", "longitude"]].to_numpy()
    return np.where(np.isnan(by_zip), by_city, by_zip)


def candidates(olist: Olist, progress: bool = True) -> Candidates:
    """Every case's reconstructed candidates with their features.

    A candidate is a seller with a sale in the case's category in the 180 days before the purchase; the seller who was
    bought from is one only by the same rule. Cases where that seller is not, or with a single candidate, are dropped.
    Further sellers of the same order are left out of its candidates: they were bought from as well.
    """
    orders, sales = olist.orders, olist.sales
    purchased = seconds(orders["purchased"])
    sold_at = purchased[sales["order"]]
    in_area = Past(_seller_area(sales["seller"], sales["area"], olist), sold_at)
    cases_of = {area: group.to_numpy() for area, group in pd.Series(orders.index).groupby(orders["area"].to_numpy())}
    sellers_of = {area: group.unique() for area, group in sales["seller"].groupby(sales["area"].to_numpy())}
    blocks = [np.empty((0, 2), dtype=np.int64)]
    for area in tqdm(sorted(cases_of.keys() - {-1}), desc="candidates", unit=" categories", disable=not progress):
        case = np.repeat(cases_of[area], len(sellers_of[area]))
        seller = np.tile(np.sort(sellers_of[area]), len(cases_of[area]))
        before = purchased[case]
        active = in_area.count(_seller_area(seller, area, olist), before, before - ACTIVE_SECONDS) > 0
        blocks.append(np.stack([case[active], seller[active]], axis=1))
    case, seller = np.concatenate(blocks).T
    bought = seller == orders["seller"].to_numpy()[case]
    also_bought = ~bought & np.isin(
        case * len(olist.sellers) + seller, sales["order"] * len(olist.sellers) + sales["seller"]
    )
    case, seller, bought = (column[~also_bought] for column in (case, seller, bought))

    found = np.bincount(case, minlength=len(orders))
    has_bought = np.bincount(case[bought], minlength=len(orders)) > 0
    ranked = has_bought & (found >= 2)
    known = orders["area"].to_numpy() >= 0
    dropped = {
        "no item or no category": int((~known).sum()),
        NEW_TO_CATEGORY: int((known & ~has_bought).sum()),
        "no second candidate": int((has_bought & (found < 2)).sum()),
    }
    keep = ranked[case]
    case, seller, bought = case[keep], seller[keep], bought[keep]
    order = np.lexsort((seller, case))
    case, seller, bought = case[order], seller[order], bought[order]

    pairs = pd.DataFrame({"case": case, "seller": seller, "bought": bought})
    area_key = _seller_area(seller, orders["area"].to_numpy()[case], olist)
    pairs["popularity"] = in_area.count(area_key, purchased[case])
    recent = momentum.EventHistory(_seller_area(sales["seller"], sales["area"], olist), sold_at)
    pairs["recent"] = recent.decayed(area_key, purchased[case], RECENT_DAYS)
    eight = features(olist, case, seller, pairs["popularity"].to_numpy())
    base = np.column_stack([eight, lately(olist, pairs)])
    columns = with_ranks(base, np.bincount(case)[np.unique(case)])
    pairs = pd.concat([pairs, pd.DataFrame(columns, columns=list(KEYS))], axis=1)
    pairs["raw_score"] = score(eight).round(6)
    return Candidates(pairs, dropped)


def lately(olist: Olist, pairs: pd.DataFrame) -> NDArray[np.float64]:
    """What the eight do not hold, (pairs, len(BASE) − 8): what matching would have logged with the case.

    By the pipelines' own code from the rows that are loaded: every list is offers, the seller who was bought from
    accepted when the payment was approved, the purchase is a contract from then on. Known as of the night before.
    """
    orders = olist.orders
    case, seller = pairs["case"].to_numpy(), pairs["seller"].to_numpy(dtype=np.int64)
    area, bought = orders["area"].to_numpy(dtype=np.int64)[case], pairs["bought"].to_numpy()
    purchased, approved = seconds(orders["purchased"]), seconds(orders["approved"])
    accepted = bought & (approved > 0)[case]
    signed = contracts(orders)
    everything = momentum.Momentum(
        momentum.Events(seller, area, purchased[case]),
        momentum.Events(seller[accepted], area[accepted], approved[case][accepted]),
        momentum.ContractEvents(
            signed["seller"].to_numpy(dtype=np.int64),
            signed["area"].to_numpy(dtype=np.int64),
            seconds(signed["signed"]),
            np.full(len(signed), np.nan),
            np.full(len(signed), -1),
        ),
        len(olist.areas),
    )
    nights = seconds(night_before(orders["purchased"]))[case]
    clients = pd.Index(orders["client"].unique())
    pair = Past(
        clients.get_indexer(signed["client"]) * len(olist.sellers) + signed["seller"].to_numpy(),
        seconds(signed["signed"]),
    )
    known = pair.count(clients.get_indexer(orders["client"])[case] * len(olist.sellers) + seller, purchased[case]) > 0
    days = (purchased[case] - seconds(olist.sellers["first_sale"])[seller]) / DAY
    return np.column_stack([everything.features(seller, area, nights), known, momentum.tenure(days)])


def contracts(orders: pd.DataFrame) -> pd.DataFrame:
    """Orders with a seller that were signed, with the instant: of approval, or of purchase where only that is known."""
    signed = orders["approved"].fillna(orders["purchased"])
    signed = signed.where(orders["approved"].notna() | (orders["status"] == "delivered"))
    return orders.assign(signed=signed)[(orders["seller"] >= 0) & signed.notna()]


def night_before(instants: pd.Series) -> pd.Series:
    """The newest 02:30 in São Paulo before each instant: when the night's figures are computed."""
    local = (instants - pd.Timedelta(NIGHT)).dt.tz_convert(TIMEZONE).dt.tz_localize(None).dt.normalize()
    return utc(local + pd.Timedelta(NIGHT))


def _seller_area(seller: NDArray, area: NDArray | int, olist: Olist) -> Ints:
    # one more than there are areas: an unknown area (-1) has a key of its own
    return np.asarray(seller, dtype=np.int64) * (len(olist.areas) + 1) + np.asarray(area) + 1


def features(olist: Olist, case: Ints, seller: Ints, sold_in_area: Ints) -> NDArray[np.float64]:
    """Shape (pairs, 8) in the order of FEATURES, in [0, 1], six decimals; NaN where nothing was known.

    A  share of the seller's earlier sales that were in the case's category
    S  nothing: the orders have no text
    T  share of reviewed sales that were delivered by the promised day and got 4 stars or more, smoothed by Beta(1, 1)
    G  1 − distance / 2,000 km
    Q  mean of ln(1 + delivered orders) / ln(1 + 200) and days since the first sale / 365
    U  1 − mean time from approval to the carrier / 7 days
    R  mean stars as a share of the way from 1 to 5, drawn to .5 with fewer than 5 reviews
    C  nothing: comments are not analysed
    """
    orders, sales = olist.orders, olist.sales
    before = seconds(orders["purchased"])[case]
    once = sales.drop_duplicates(["order", "seller"])
    who = once["seller"].to_numpy(dtype=np.int64)
    of_order = orders.loc[once["order"]].reset_index(drop=True)

    def past(instant: str, **values: NDArray) -> Past:
        happened = of_order[instant].notna().to_numpy()
        at = seconds(of_order[instant])[happened]
        return Past(who[happened], at, **{name: value[happened] for name, value in values.items()})

    # A late or missing parcel is judged as things stood when the review was written.
    good = (of_order["delivered"] <= of_order["answered"]) & of_order["on_time"] & (of_order["stars"] >= 4)
    reviews = past("answered", stars=of_order["stars"].to_numpy(), good=good.to_numpy())
    delay = (of_order["shipped"] - of_order["approved"]).dt.total_seconds().clip(lower=0)
    known_delay = delay.notna().to_numpy()
    shipments = past("shipped", delay=delay.fillna(0).to_numpy(), known=known_delay)
    reviewed = reviews.count(seller, before)
    sold = Past(sales["seller"].to_numpy(dtype=np.int64), seconds(orders["purchased"])[sales["order"]]).count(
        seller, before
    )
    delays = shipments.total("known", seller, before)
    trust = np.minimum(reviewed / FULL_TRUST_REVIEWS, 1)
    delivered = past("delivered").count(seller, before)
    days = before - seconds(olist.sellers["first_sale"])[seller]

    with np.errstate(invalid="ignore", divide="ignore"):
        mean_stars = (reviews.total("stars", seller, before) / reviewed - 1) / 4
        columns = {
            "A": sold_in_area / sold,
            "T": (reviews.total("good", seller, before) + 1) / (reviewed + 2),
            "G": 1 - _distance_km(olist, case, seller) / RADIUS_KM,
            "Q": (
                np.minimum(np.log1p(delivered) / np.log1p(EXPERIENCED_ORDERS), 1)
                + np.minimum(days / EXPERIENCED_SECONDS, 1)
            )
            / 2,
            "U": 1 - shipments.total("delay", seller, before) / delays / RESPONSE_SECONDS,
            "R": trust * mean_stars + (1 - trust) * 0.5,
        }
    nothing = np.full(len(case), np.nan)
    return np.stack([columns.get(name, nothing) for name in FEATURES], axis=1).clip(0, 1).round(6)


def _distance_km(olist: Olist, case: Ints, seller: Ints) -> NDArray[np.float64]:
    """Great-circle distance of client and seller, shape (pairs,); NaN where a place is unknown."""
    clients = unit_vectors(olist.orders["lat"].to_numpy(), olist.orders["lng"].to_numpy())
    sellers = unit_vectors(olist.sellers["lat"].to_numpy(), olist.sellers["lng"].to_numpy())
    chord = np.linalg.norm(clients[case] - sellers[seller], axis=1)
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(chord / 2, 1))
