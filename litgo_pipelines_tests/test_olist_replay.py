"""The replay of real orders: what stands for what, who could have been a candidate, and that no feature sees ahead.

Expected values are computed again in plain Python, one pair at a time, from the files themselves.
"""

import csv
import math
from collections import defaultdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from benchmarks import olist_allocation, olist_replay
from benchmarks.evaluation_page import write_part
from benchmarks.olist_marketplace import Candidates, Olist, Past, candidates, read, utc
from litgo_pipelines.database import connect
from litgo_pipelines.equity.capacity import capacity_rules
from litgo_pipelines.equity.distribution import distribution
from litgo_pipelines.equity.load import read_window, run_night
from litgo_pipelines.learning import snapshot
from litgo_pipelines.matching.allocation import Rule
from litgo_pipelines.matching.replay import price, replay
from litgo_pipelines.models import training_data
from litgo_pipelines.models.features import FEATURES
from litgo_pipelines.models.heuristic import score

FOLDER = olist_replay.DEFAULT_FOLDER
ORDERS = 1500
ZONE = ZoneInfo("America/Sao_Paulo")

needs_files = pytest.mark.skipif(
    not (FOLDER / "olist_orders_dataset.csv").exists(),
    reason="the Olist files are not here; they are no part of the project",
)


@pytest.fixture(scope="module")
def olist() -> Olist:
    return read(FOLDER, ORDERS)


@pytest.fixture(scope="module")
def found(olist: Olist) -> Candidates:
    return candidates(olist, progress=False)


def instant(text: str) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=ZONE).astimezone(ZoneInfo("UTC")) if text else None


def rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / f"olist_{name}_dataset.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Slow:
    """The first orders as dictionaries, and each figure of a pair by a loop over all of them."""

    def __init__(self) -> None:
        category = {p["product_id"]: p["product_category_name"] for p in rows("products")}
        self.orders: dict[str, dict[str, Any]] = {}
        for o in sorted(rows("orders"), key=lambda o: (o["order_purchase_timestamp"], o["order_id"]))[:ORDERS]:
            delivered = o["order_delivered_customer_date"]
            self.orders[o["order_id"]] = {
                "purchased": instant(o["order_purchase_timestamp"]),
                "approved": instant(o["order_approved_at"]),
                "shipped": instant(o["order_delivered_carrier_date"]),
                "delivered": instant(delivered),
                "on_time": bool(delivered) and delivered[:10] <= o["order_estimated_delivery_date"][:10],
                "items": [],
                "review": None,
            }
        for item in sorted(rows("order_items"), key=lambda i: int(i["order_item_id"])):
            if item["order_id"] in self.orders:
                pair = (item["seller_id"], category[item["product_id"]])
                self.orders[item["order_id"]]["items"].append(pair)
        for r in sorted(rows("order_reviews"), key=lambda r: (r["review_creation_date"], r["review_answer_timestamp"])):
            order = self.orders.get(r["order_id"])
            if order and order["review"] is None:
                order["review"] = (
                    instant(r["review_creation_date"]),
                    instant(r["review_answer_timestamp"]),
                    int(r["review_score"]),
                )
        self.of_seller: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for order in self.orders.values():
            for seller in {seller for seller, _ in order["items"]}:
                self.of_seller[seller].append(order)

    def case(self, order: str) -> tuple[datetime, str, str]:
        """Purchase, category, seller of the first item."""
        seller, area = self.orders[order]["items"][0]
        return self.orders[order]["purchased"], area, seller

    def sales(self, seller: str, area: str, start: datetime, end: datetime) -> int:
        return sum(start <= o["purchased"] < end and (seller, area) in o["items"] for o in self.of_seller[seller])

    def candidates(self, order: str) -> set[str]:
        at, area, bought = self.case(order)
        others = {seller for seller, _ in self.orders[order]["items"]} - {bought}
        return {s for s in self.of_seller if s not in others and self.sales(s, area, at - timedelta(days=180), at)}

    def features(self, order: str, seller: str) -> dict[str, float]:
        """All but G."""
        at, area, _ = self.case(order)
        mine = self.of_seller[seller]
        before = [o for o in mine if o["purchased"] < at]
        sold = sum(len({a for s, a in o["items"] if s == seller}) for o in before)
        reviews = [o for o in before if o["review"] and o["review"][1] < at]
        assert all(o["review"][0] < at for o in reviews)  # answered before means created before
        good = sum(
            o["review"][2] >= 4 and o["on_time"] and o["delivered"] is not None and o["delivered"] <= o["review"][1]
            for o in reviews
        )
        delivered = sum(o["delivered"] is not None and o["delivered"] < at for o in before)
        days = (at - min(o["purchased"] for o in mine)).total_seconds() / 86400
        delays = [
            max((o["shipped"] - o["approved"]).total_seconds(), 0) / 86400
            for o in before
            if o["shipped"] and o["shipped"] < at and o["approved"]
        ]
        trust = min(len(reviews) / 5, 1)
        stars = (sum(o["review"][2] for o in reviews) / len(reviews) - 1) / 4 if reviews else math.nan
        return {
            "A": self.sales(seller, area, datetime.min.replace(tzinfo=ZONE), at) / sold,
            "S": math.nan,
            "T": (good + 1) / (len(reviews) + 2),
            "Q": (min(math.log1p(delivered) / math.log1p(200), 1) + min(days / 365, 1)) / 2,
            "U": max(1 - sum(delays) / len(delays) / 7, 0) if delays else math.nan,
            "R": trust * stars + (1 - trust) * 0.5,
            "C": math.nan,
        }


@pytest.fixture(scope="module")
def slow() -> Slow:
    return Slow()


def named(olist: Olist, found: Candidates) -> pd.DataFrame:
    """The pairs with the names of the files instead of codes."""
    return found.pairs.assign(
        order=olist.orders["order_id"].iloc[found.pairs["case"]].to_numpy(),
        seller=olist.sellers["id"].iloc[found.pairs["seller"]].to_numpy(),
    ).drop(columns="case")


@needs_files
def test_a_case_is_an_order_with_the_category_and_seller_of_its_first_item(olist: Olist, slow: Slow) -> None:
    assert list(olist.orders["order_id"]) == list(slow.orders)
    assert olist.orders["purchased"].is_monotonic_increasing
    for order in olist.orders[olist.orders["area"] >= 0].sample(200, random_state=1).itertuples():
        at, area, seller = slow.case(order.order_id)
        assert (order.purchased, olist.areas[order.area], olist.sellers["id"][order.seller]) == (at, area, seller)
        assert (None if pd.isna(order.delivered) else order.delivered) == slow.orders[order.order_id]["delivered"]


@needs_files
def test_candidates_sold_in_the_category_in_the_180_days_before(olist: Olist, found: Candidates, slow: Slow) -> None:
    pairs = named(olist, found)
    by_order = pairs.groupby("order")
    for order in olist.orders[olist.orders["area"] >= 0].sample(60, random_state=2)["order_id"]:
        expected, bought = slow.candidates(order), slow.case(order)[2]
        if bought not in expected or len(expected) < 2:
            assert order not in by_order.groups
            continue
        case = by_order.get_group(order)
        assert set(case["seller"]) == expected
        assert list(case.loc[case["bought"], "seller"]) == [bought]
    assert sum(found.dropped.values()) + pairs["order"].nunique() == ORDERS
    assert (by_order.size() >= 2).all()


@needs_files
def test_features_of_a_sample_by_plain_loops(olist: Olist, found: Candidates, slow: Slow) -> None:
    # Both kinds, and the busiest candidates, whose many events leave most room for a mistake.
    pairs = named(olist, found)
    sample = pd.concat(
        [pairs[pairs["bought"]].sample(60, random_state=3), pairs.sample(80, random_state=4), pairs.nlargest(40, "Q")]
    )
    for pair in sample.to_dict("records"):
        for name, value in slow.features(pair["order"], pair["seller"]).items():
            assert pair[name] == pytest.approx(value, abs=2e-6, nan_ok=True), (name, pair)
        at, area, _ = slow.case(pair["order"])
        assert pair["popularity"] == slow.sales(pair["seller"], area, datetime.min.replace(tzinfo=ZONE), at)
    assert found.pairs["raw_score"].to_numpy() == pytest.approx(score(found.pairs[list(FEATURES)].to_numpy()), abs=1e-6)


@needs_files
def test_later_orders_change_nothing(olist: Olist, found: Candidates) -> None:
    fewer = read(FOLDER, ORDERS // 2)
    some = named(fewer, candidates(fewer, progress=False))
    everything = named(olist, found)
    earlier = everything[everything["order"].isin(fewer.orders["order_id"])]
    assert len(some) > 1000
    keys = ["order", "seller"]
    pd.testing.assert_frame_equal(
        some.sort_values(keys).reset_index(drop=True), earlier.sort_values(keys).reset_index(drop=True)
    )


@needs_files
def test_what_becomes_of_an_order_is_not_seen_by_its_own_case(olist: Olist, found: Candidates) -> None:
    last = int(found.pairs["case"].max())
    orders = olist.orders.copy()
    orders.loc[last, "stars"] = 1.0
    for name in ("approved", "shipped", "delivered", "answered"):
        orders.loc[last, name] = orders.loc[last, "purchased"]
    changed = candidates(Olist(orders, olist.sales, olist.sellers, olist.areas), progress=False)
    pd.testing.assert_frame_equal(changed.pairs, found.pairs)


@needs_files
def test_closeness_is_from_the_zip_prefix_of_both(olist: Olist, found: Candidates) -> None:
    zips = pd.read_parquet(FOLDER / "zip_geo.parquet").set_index("zip")[["lat", "lng"]].T.to_dict("list")
    zip_of = {s["seller_id"]: s["seller_zip_code_prefix"].zfill(5) for s in rows("sellers")}
    customers = {c["customer_id"]: c["customer_zip_code_prefix"].zfill(5) for c in rows("customers")}
    zip_of |= {o["order_id"]: customers[o["customer_id"]] for o in rows("orders")}
    checked = 0
    for pair in named(olist, found).sample(200, random_state=5).to_dict("records"):
        if zip_of[pair["order"]] not in zips or zip_of[pair["seller"]] not in zips:
            continue  # then the city's centre serves
        (lat, lng), (to_lat, to_lng) = (map(math.radians, zips[zip_of[pair[end]]]) for end in ("order", "seller"))
        half = math.sin((to_lat - lat) / 2) ** 2 + math.cos(lat) * math.cos(to_lat) * math.sin((to_lng - lng) / 2) ** 2
        km = 2 * 6371.0088 * math.asin(math.sqrt(half))
        assert pair["G"] == pytest.approx(max(1 - km / 2000, 0), abs=2e-6)
        checked += 1
    assert checked > 100
    assert olist.orders["lat"].notna().mean() > 0.99


def test_past_counts_strictly_before() -> None:
    past = Past(np.array([1, 0, 1]), np.array([20, 10, 10]), value=np.array([5.0, 1.0, 2.0]))
    key, before = np.array([1, 1, 1, 0, 2]), np.array([10, 20, 21, 99, 99])
    assert past.count(key, before).tolist() == [0, 1, 2, 1, 0]
    assert past.count(key, before, since=before - 10).tolist() == [0, 1, 1, 0, 0]
    assert past.total("value", key, before).tolist() == [0, 2, 7, 1, 0]


def test_local_times_follow_the_summer_time_of_their_year() -> None:
    local = pd.Series(pd.to_datetime(["2017-01-10 12:00:00", "2017-07-10 12:00:00", "2017-10-15 00:30:00", None]))
    assert utc(local).dt.strftime("%Y-%m-%d %H:%M").tolist()[:3] == [
        "2017-01-10 14:00",
        "2017-07-10 15:00",
        "2017-10-15 03:00",
    ]
    assert utc(local).isna().tolist() == [False, False, False, True]


def test_a_tie_is_one_of_the_bought_seller_s() -> None:
    groups, labels = np.array([10, 10]), np.zeros(20, dtype=int)
    labels[[0, 19]] = 3  # first and last row
    assert olist_replay.tied_share(labels, np.zeros(20), groups) == 1
    assert olist_replay.tied_share(labels, np.arange(20.0), groups) == 0


@pytest.mark.slow
@needs_files
def test_loaded_it_is_a_marketplace_to_run_a_night_and_a_snapshot_on(
    database_url: str, olist: Olist, found: Candidates, tmp_path: Path
) -> None:
    counts = olist_replay.load(database_url, olist, found, progress=False)
    pairs, cases = len(found.pairs), found.pairs["case"].nunique()
    assert counts["cases"] == ORDERS
    assert counts["offers"] == counts["case_matches"] == pairs
    end = olist_replay.end_of_data(olist)
    night = olist.orders["purchased"].max().date()
    with connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT simulated_at FROM litgo.own_marketplace")
        assert cursor.fetchall() == [(None,)]
        cursor.execute("SELECT status, count(*), count(responded_at) FROM offers GROUP BY 1 ORDER BY 1")
        assert cursor.fetchall() == [("expired", pairs - cases, 0), ("interested", cases, cases)]
        cursor.execute(
            "SELECT count(*) FROM offers o JOIN contracts c USING (case_id, lawyer_id) WHERE o.status = 'interested'"
        )
        assert cursor.fetchone() == (cases,)
        cursor.execute(
            "SELECT count(*) FROM case_matches m JOIN cases c ON c.id = m.case_id WHERE m.created_at <> c.created_at"
        )
        assert cursor.fetchone() == (0,)

        instant_of_night = datetime.combine(night, datetime.min.time(), ZONE) + timedelta(hours=2)
        run_night(connection, date.fromordinal(night.toordinal() - 1), instant_of_night, capacity_rules())
        figures = distribution(*read_window(connection, date.fromordinal(night.toordinal() - 1), instant_of_night))
        gini, coverage = figures["gini"], figures["coverage"]
        assert gini is not None
        assert coverage is not None
        assert 0 < gini < 1
        assert 0 < coverage <= 1
        assert figures["offers"] > 0

    with connect(database_url) as connection, connection.cursor() as cursor:
        written = snapshot.write_snapshot(cursor, end, 0.2, tmp_path)
    assert (written.rows, written.cases, written.excluded) == (pairs, cases, {})
    sound = training_data.examine(written.path)
    assert sound.problems == []
    assert sound.counts["missing_feature_share"]["S"] == sound.counts["missing_feature_share"]["C"] == 1
    assert sound.counts["missing_feature_share"]["A"] == 0


@needs_files
def test_the_lists_become_cases_in_order_of_purchase(olist: Olist, found: Candidates) -> None:
    cases, lawyers, bought = olist_allocation.as_cases(olist, found)
    pairs = found.pairs
    assert (np.diff(cases.at) >= 0).all()
    assert cases.starts[-1] == len(pairs)
    assert cases.lawyer[cases.starts[:-1] + bought].tolist() == pairs.loc[pairs["bought"], "seller"].tolist()
    at = olist.orders["purchased"].iloc[pairs["case"].unique()]
    assert cases.at.tolist() == [instant.timestamp() for instant in at]
    # a list never holds a seller from before their first sale
    assert (lawyers.joined[cases.lawyer] < np.repeat(cases.at, np.diff(cases.starts))).all()
    complete = pairs[["A", "T", "G", "Q", "U", "R"]].notna().all(axis=1)
    assert cases.relevance[complete] == pytest.approx(pairs.loc[complete, "raw_score"], abs=1e-3)


@needs_files
def test_what_happened_and_the_rule_are_replayed_on_the_same_cases(olist: Olist, found: Candidates) -> None:
    cases, lawyers, bought = olist_allocation.as_cases(olist, found)
    happened = replay(cases, lawyers, olist_allocation.as_bought(bought), 1)
    sellers = found.pairs.loc[found.pairs["bought"], "seller"]
    assert [one.tolist() for one in happened.offered] == [[seller] for seller in sellers]
    end = float(cases.at[-1])
    ours, best = (replay(cases, lawyers, price(rule, 1), 1).figures(end) for rule in (Rule(), Rule(weight=0)))
    assert ours.gini < happened.figures(end).gini < best.gini
    assert best.kept == pytest.approx(1)
    assert 0.7 <= ours.kept_p5 <= ours.kept < 1
    counted = np.isfinite(ours.utilisation)
    assert counted.tolist() == np.isfinite(best.utilisation).tolist()


def test_a_part_of_the_page_is_rewritten_and_the_others_stay(tmp_path: Path) -> None:
    write_part(tmp_path, "olist-allocation", "## C\n\n1 % <!-- a remark -->")
    write_part(tmp_path, "fair-allocation", "## A\n")
    page = write_part(tmp_path, "olist-allocation", "## C, again \\1")
    text = page.read_text(encoding="utf-8")
    assert text.index("## A") < text.index("## C, again \\1")
    assert "1 %" not in text
    assert write_part(tmp_path, "fair-allocation", "## A").read_text(encoding="utf-8") == text
    page.write_text("# Somebody's own page", encoding="utf-8")
    with pytest.raises(ValueError, match="no markers"):
        write_part(tmp_path, "olist", "x")
    assert page.read_text(encoding="utf-8") == "# Somebody's own page"
