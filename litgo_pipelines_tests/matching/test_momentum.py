"""Momentum: against plain loops, strictly before the instant, the same in the night's table, matching and snapshot."""

import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from litgo_pipelines.database import connect
from litgo_pipelines.learning import snapshot
from litgo_pipelines.matching import momentum_night
from litgo_pipelines.matching.momentum import (
    DAY,
    PRIOR_OFFERS,
    WINDOW,
    ContractEvents,
    EventHistory,
    Events,
    Momentum,
    tenure,
)
from litgo_pipelines.models.features import HALF_LIVES, KEYS, MOMENTUM_KEYS
from litgo_pipelines_tests.worlds.matching import AS_OF, fill, match
from litgo_pipelines_tests.worlds.sessions import ask, kept

NOW = int(AS_OF.timestamp())
MATCHED = "FROM case_matches WHERE created_at >= %s"


def drawn(seed: int, events: int = 400, lawyers: int = 6, areas: int = 3) -> tuple[Events, Events, ContractEvents]:
    draw = np.random.default_rng(seed)

    def some(count: int) -> tuple[Any, Any, Any]:
        who, where = draw.integers(0, lawyers, count), draw.integers(-1, areas, count)
        return who, where, NOW - draw.integers(-5 * DAY, 900 * DAY, count)

    fee = np.where(draw.random(events // 3) < 0.2, np.nan, draw.normal(7, 1, events // 3))
    kind = draw.integers(-1, 2, events // 3)
    return Events(*some(events)), Events(*some(events // 2)), ContractEvents(*some(events // 3), fee, kind)


def plain(
    offered: Events, accepted: Events, signed: ContractEvents, lawyer: int, area: int, at: int
) -> dict[str, float]:
    """One pair by loops over all events."""

    def of(events: Events, who: int | None, where: int | None) -> list[int]:
        return [
            k
            for k in range(len(events.at))
            if at - WINDOW <= events.at[k] < at and who in (None, events.lawyer[k]) and where in (None, events.area[k])
        ]

    offers, yes, work = of(offered, lawyer, area), of(accepted, lawyer, area), of(signed, lawyer, area)
    everywhere = of(signed, lawyer, None)
    row: dict[str, float] = {}

    def weigh(events: Events, rows: list[int], days: int) -> float:
        return float(sum(2 ** (-(at - events.at[k]) / DAY / days) for k in rows))

    for days in HALF_LIVES:
        below = weigh(offered, offers, days) + PRIOR_OFFERS
        row[f"accepted_{days}d"] = min(weigh(accepted, yes, days) / below, 1) if offers else math.nan
        row[f"contracts_{days}d"] = weigh(signed, work, days) / below if offers or work else math.nan
    ages = [(at - accepted.at[k]) / DAY for k in yes] + [(at - signed.at[k]) / DAY for k in work]
    row["idle_days"] = min(ages, default=math.nan)
    row["area_share"] = len(work) / len(everywhere) if everywhere else math.nan
    paid = [k for k in work if signed.kind[k] >= 0 and not math.isnan(signed.fee[k])]
    above = []
    for k in paid:
        same = [j for j in of(signed, None, area) if signed.kind[j] == signed.kind[k] and not math.isnan(signed.fee[j])]
        above.append(signed.fee[k] - np.mean([signed.fee[j] for j in same]))
    row["price_level"] = 1 / (1 + math.exp(-np.mean(above))) if above else math.nan
    return row


@pytest.mark.parametrize("seed", range(4))
def test_equals_plain_loops(seed: int) -> None:
    events = drawn(seed)
    found = Momentum(*events, 3)
    ask_for = [(who, where, NOW - back * DAY) for who in range(6) for where in range(3) for back in (0, 3, 400)]
    lawyer, area, at = (np.array(column) for column in zip(*ask_for, strict=True))
    values = found.features(lawyer, area, at)
    for row, pair in zip(values.tolist(), ask_for, strict=True):
        assert dict(zip(MOMENTUM_KEYS, row, strict=True)) == pytest.approx(plain(*events, *pair), abs=2e-6, nan_ok=True)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_from_the_instant_on_is_known(seed: int) -> None:
    """The same bytes whether the later events exist or not, and whether asked alone or among other instants."""
    everything = drawn(seed)
    at = np.full(18, NOW - 200 * DAY)
    lawyer, area = np.repeat(np.arange(6), 3), np.tile(np.arange(3), 6)

    def before(events: Events) -> Any:
        early = events.at < at[0]
        return type(events)(*(column[early] for column in vars(events).values()))

    offered, accepted, signed = (before(events) for events in everything)
    cut = Momentum(offered, accepted, signed, 3).features(lawyer, area, at)
    full = Momentum(*everything, 3)
    assert cut.tobytes() == full.features(lawyer, area, at).tobytes()
    both = full.features(np.r_[lawyer, lawyer], np.r_[area, area], np.r_[at, at + 50 * DAY])
    assert both[:18].tobytes() == cut.tobytes()


def test_an_event_of_the_instant_itself_is_not_before_it() -> None:
    one = EventHistory(np.array([4]), np.array([NOW]))
    key = np.array([4, 4, 5])
    at = np.array([NOW, NOW + 1, NOW + 1])
    assert one.count(key, at).tolist() == [0, 1, 0]
    assert one.decayed(key, at, 7)[[0, 2]].tolist() == [0, 0]
    assert np.isnan(one.since(key, at)).tolist() == [True, False, True]
    assert one.count(key[:1], at[:1] + WINDOW + 1).tolist() == [0]
    assert EventHistory(np.empty(0, np.int64), np.empty(0, np.int64)).decayed(key, at, 7).tolist() == [0, 0, 0]


def test_offers_alone_do_not_raise_anything() -> None:
    """The allocator makes the offers: who got more of them and no answer is not ranked higher for it."""

    def daily(count: int) -> Events:
        zeros = np.zeros(count, np.int64)
        return Events(zeros, zeros, NOW - 1 - np.arange(count) * DAY)

    def rates(offers: int, accepted: int) -> Any:
        nobody = np.empty(0, np.int64)
        nothing = ContractEvents(nobody, nobody, nobody, np.empty(0), nobody)
        found = Momentum(daily(offers), daily(accepted), nothing, areas=1)
        return found.features(np.array([0]), np.array([0]), np.array([NOW]))[0, :6]

    assert rates(2, 0).tolist() == rates(40, 0).tolist() == [0.0] * 6
    assert (rates(2, 2)[:3] > rates(40, 2)[:3]).all()


def test_tenure() -> None:
    assert tenure(np.array([0.0, 3652.5, 9000.0, np.nan])).tolist()[:3] == [0, 1, 1]
    assert np.isnan(tenure(np.array([np.nan]))).all()


LATELY = """
INSERT INTO cases (id, client_id, area, status, created_at)
SELECT md5('past ' || i)::uuid, md5('client ' || 1 + i %% 20)::uuid,
       CASE WHEN i %% 4 = 0 THEN 'familia' ELSE 'Civil' END, 'closed',
       %(as_of)s::timestamptz - i * interval '31 hours' FROM generate_series(1, 240) i;
INSERT INTO offers (case_id, lawyer_id, status, sent_at, responded_at, expires_at)
SELECT md5('past ' || i)::uuid, md5('lawyer ' || 1 + (i * 7 + k) %% 30)::uuid,
       CASE WHEN (i + k) %% 3 = 0 THEN 'interested' ELSE 'expired' END,
       %(as_of)s::timestamptz - i * interval '31 hours',
       CASE WHEN (i + k) %% 3 = 0 THEN %(as_of)s::timestamptz - i * interval '31 hours' + interval '5 hours' END,
       %(as_of)s::timestamptz - i * interval '31 hours' + interval '24 hours'
FROM generate_series(1, 240) i, generate_series(0, 4) k;
INSERT INTO contracts (case_id, lawyer_id, client_id, status, signed_client, signed_lawyer, created_at, fee_model)
SELECT md5('past ' || i)::uuid, md5('lawyer ' || 1 + (i * 7) %% 30)::uuid,
       md5('client ' || 1 + i %% 20)::uuid, 'active', at, at, at,
       CASE i %% 3 WHEN 0 THEN jsonb_build_object('type', 'fixed', 'value', 900 + i)
                   WHEN 1 THEN jsonb_build_object('type', 'success', 'percent', 10 + i %% 20)
                   ELSE '{"type": "fixed", "value": "a lot"}'::jsonb END
FROM (SELECT i, %(as_of)s::timestamptz - i * interval '31 hours' + interval '9 hours' AS at
      FROM generate_series(1, 240) i WHERE i %% 2 = 0) c;
"""


@pytest.fixture
def lively(database_url: str) -> str:
    """The small marketplace with eight months of offers, answers and contracts behind it."""
    fill(database_url)
    ask(database_url, LATELY, {"as_of": AS_OF})
    return database_url


def night(url: str, as_of: datetime) -> list[tuple[Any, ...]]:
    with kept(url) as connection, connection, connection.cursor() as cursor:
        momentum_night.refresh(cursor, as_of)
    keys = ", ".join(MOMENTUM_KEYS)
    return ask(url, f"SELECT lawyer_id::text, area, {keys} FROM litgo.lawyer_momentum ORDER BY 1, 2")


def test_the_night_s_table_knows_nothing_of_what_comes_after(lively: str) -> None:
    as_of = AS_OF - timedelta(days=100)
    before = night(lively, as_of)
    assert len(before) > 30
    assert {row[1] for row in before} == {"Civil", "Família"}  # one area in two spellings
    known = np.array([row[2:] for row in before], dtype=float)
    assert (~np.isnan(known)).mean(axis=0).min() > 0.2
    ask(lively, "DELETE FROM contracts WHERE created_at >= %s", (as_of,))
    ask(lively, "UPDATE offers SET status = 'pending', responded_at = NULL WHERE responded_at >= %s", (as_of,))
    ask(lively, "DELETE FROM offers WHERE sent_at >= %s", (as_of,))
    ask(lively, "DELETE FROM cases WHERE created_at >= %s AND status = 'closed'", (as_of,))
    ask(lively, "DELETE FROM litgo.lawyer_momentum")
    assert night(lively, as_of) == before


def test_an_older_night_never_takes_back_a_newer_one_s_rows(lively: str) -> None:
    newest = night(lively, AS_OF)
    assert night(lively, AS_OF - timedelta(days=5)) == newest
    assert ask(lively, "SELECT DISTINCT as_of FROM litgo.lawyer_momentum") == [(AS_OF,)]


def test_what_matching_ranked_by_is_what_training_reads(lively: str, tmp_path: Path) -> None:
    """Byte by byte: the night's values, the ranks in the pool, and the row of the snapshot."""
    rows = {(lawyer, area): values for lawyer, area, *values in night(lively, AS_OF - timedelta(hours=9))}
    match(lively)
    logged = ask(
        lively,
        "SELECT m.lawyer_id::text, litgo.area_name(c.area), m.features FROM case_matches m "
        "JOIN cases c ON c.id = m.case_id WHERE m.created_at >= %s",
        (AS_OF,),
    )
    assert len(logged) > 20
    for lawyer, area, found in logged:
        assert set(found) == set(KEYS)
        assert [found[key] for key in MOMENTUM_KEYS] == rows.get((lawyer, area), [None] * len(MOMENTUM_KEYS))
    resolved = (AS_OF + timedelta(days=1), AS_OF)
    ask(lively, "UPDATE offers SET status = 'expired', expires_at = %s WHERE sent_at >= %s", resolved)
    with connect(lively) as connection, connection.cursor() as cursor:
        written = snapshot.write_snapshot(cursor, AS_OF + timedelta(days=3), 0.2, tmp_path)
    trained = {(row["lawyer_id"], row["case_id"]): row for row in pq.read_table(written.path).to_pylist()}
    served = ask(lively, f"SELECT lawyer_id::text, case_id::text, features {MATCHED}", (AS_OF,))
    assert len(served) == len(trained)
    for lawyer, case, found in served:
        row = trained[lawyer, case]
        assert {key: row[key] for key in KEYS} == found
    known = [row["repeat_client"] for row in trained.values()]
    assert {0.0, 1.0} == set(known)


def test_a_night_after_the_batch_s_instant_is_not_used(lively: str) -> None:
    night(lively, AS_OF + timedelta(hours=1))
    match(lively)
    (logged,) = ask(lively, f"SELECT DISTINCT features -> 'accepted_30d' {MATCHED}", (AS_OF,))
    assert logged == (None,)
