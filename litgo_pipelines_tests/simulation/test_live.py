"""A loaded marketplace that goes on. Offers are made by one statement here: whoever makes them, they are answered."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from litgo_pipelines.database import Connection, open_connection, sql
from litgo_pipelines.simulation import live
from litgo_pipelines.simulation.load import TABLES, simulate
from litgo_pipelines.simulation.truth import Taste, World
from litgo_pipelines_tests.worlds.simulation import END, NEVER

pytestmark = pytest.mark.slow

SIZES: dict[str, Any] = {"seed": 5, "lawyers": 300, "cases": 1500, "days": 60, "end": END}
WORLD = World(**SIZES)
DAY = timedelta(days=1)
# Rules about the end of the loaded window, and about features, which the offers of these tests have none of.
OF_THE_LOAD = {
    "an event after the end",
    "an offer still open a day later",
    "an expired offer that had time",
    "an offer without features logged before it",
    "an offer to someone who had not joined",
}
# Five lawyers of the area for every case that has no offers, by a draw that is always the same.
OFFER = """
INSERT INTO offers (id, case_id, lawyer_id, sent_at, created_at, expires_at, raw_score)
SELECT ('51a1' || substr(md5(c.id::text || l.id), 5))::uuid, c.id, l.id, %(at)s, %(at)s, %(at)s + interval '1 day',
       1.0 / l.place
FROM cases c CROSS JOIN LATERAL (
    SELECT id, row_number() OVER (ORDER BY md5(c.id::text || id), id) AS place FROM lawyers
    WHERE c.area = ANY(tags_expertise) AND is_available ORDER BY place LIMIT 5
) l
WHERE c.status = 'pending_assignment' AND c.created_at > %(since)s AND c.created_at <= %(at)s
  AND NOT EXISTS (SELECT FROM offers o WHERE o.case_id = c.id)
"""


@pytest.fixture
def connection(database_url: str) -> Iterator[Any]:
    simulate(database_url, **SIZES, progress=False)
    opened = open_connection(database_url)
    yield opened
    opened.close()


def ask(connection: Connection, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    with connection, connection.cursor() as cursor:
        cursor.execute("SET LOCAL search_path = pg_catalog, public, pg_temp")  # the marketplace's own tables
        cursor.execute(query, parameters)
        return cursor.fetchall() if cursor.description else []


def offer(connection: Connection, at: datetime) -> None:
    ask(connection, OFFER, {"at": at, "since": END})
    ask(connection, sql("litgo_pipelines.matching", "expiry.sql"), {"as_of": at, "ids": None})


def digest(connection: Connection) -> dict[str, Any]:
    """One hash a table over the text of its rows, whatever their order."""
    return {
        t: ask(connection, f"SELECT md5(string_agg(r, '|' ORDER BY r)) FROM (SELECT t::text AS r FROM {t} t) x")[0][0]
        for t in TABLES
    }


def test_clients_come_lawyers_answer_and_contracts_end_in_reviews(connection: Connection) -> None:
    written: Counter[str] = Counter()
    for day in range(30):
        written.update(live.step(connection, WORLD, END + day * DAY, END + (day + 1) * DAY))
        offer(connection, END + (day + 1) * DAY)
    assert 600 < written["cases"] < 900  # 25 a day
    assert 0.75 < written["clients"] / written["cases"] < 0.85
    assert all(written[name] > 20 for name in ("answers", "contracts", "active", "closed", "reviews", "given_up"))
    for name in NEVER.keys() - OF_THE_LOAD:
        assert ask(connection, NEVER[name])[0][0] == 0, name
    (before, after), (signed_before, signed_after) = (
        [float(share) for (share,) in ask(connection, query, {"end": END, "over": END + 28 * DAY})]
        for query in (
            "SELECT avg((status = 'interested')::int) FROM offers WHERE status <> 'pending' AND sent_at < %(over)s "
            "GROUP BY sent_at > %(end)s ORDER BY sent_at > %(end)s",
            "SELECT avg((EXISTS (SELECT FROM contracts k WHERE k.case_id = c.id))::int) FROM cases c "
            "WHERE created_at NOT BETWEEN %(end)s - interval '6 days' AND %(end)s AND created_at < %(over)s - interval "
            "'6 days' GROUP BY created_at > %(end)s ORDER BY created_at > %(end)s",
        )
    )
    assert 0.5 < after / before < 1.5  # by chance here, by the heuristic ranker there
    assert 0.5 < signed_after / signed_before < 1.5
    ((late,),) = ask(connection, "SELECT count(*) FROM offers WHERE responded_at NOT BETWEEN sent_at AND expires_at")
    assert late == 0


def test_a_step_that_is_killed_or_repeated_or_cut_in_two_comes_to_the_same(
    connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    middle, stop = END + DAY, END + 2 * DAY
    live.step(connection, WORLD, END, middle)
    offer(connection, middle)
    before = digest(connection)
    with monkeypatch.context() as patch:
        patch.setattr(live._Step, "give_up", lambda self: 1 / 0)  # the last part: all else is written
        with pytest.raises(ZeroDivisionError):
            live.step(connection, WORLD, middle, stop)
    assert digest(connection) == before
    whole = live.step(connection, WORLD, middle, stop)
    assert whole["cases"] > 0
    assert whole["answers"] > 0
    after = digest(connection)
    assert not any(live.step(connection, WORLD, middle, stop).values())
    assert digest(connection) == after

    for seed in (6, 5):  # another one in between: the same again would be left as it is
        simulate(database_url, **{**SIZES, "seed": seed}, progress=False, replace=True)
    live.step(connection, WORLD, END, END + DAY / 3)
    live.step(connection, WORLD, END + DAY / 3, middle)
    offer(connection, middle)
    for part in range(4):
        live.step(connection, WORLD, middle + part * DAY / 4, middle + (part + 1) * DAY / 4)
    assert digest(connection) == after


def test_tastes_can_change_and_demand_can_grow(connection: Connection) -> None:
    nobody = live.Change(END + 2 * DAY, Taste(base=-60))
    few = live.step(connection, WORLD, END, END + DAY, demand=0.5)["cases"]
    offer(connection, END + DAY)
    many = live.step(connection, WORLD, END + DAY, END + 2 * DAY, demand=2, change=nobody)["cases"]
    assert many > 2 * few
    offer(connection, END + 2 * DAY)
    live.step(connection, WORLD, END + 2 * DAY, END + 3 * DAY, change=nobody)
    counted = dict(
        ask(
            connection,
            "SELECT sent_at, count(*) FILTER (WHERE status = 'interested') FROM offers WHERE sent_at > %s GROUP BY 1",
            (END,),
        )
    )
    assert counted[END + DAY] > 0
    assert counted[END + 2 * DAY] == 0


@pytest.mark.parametrize(
    ("start", "stop", "demand"),
    [
        (END, END, 1),
        (END - DAY, END, 1),
        (END, END + DAY, -1),
        (END, datetime(2027, 1, 1), 1),  # noqa: DTZ001
    ],
)
def test_a_step_that_makes_no_sense_is_refused(start: datetime, stop: datetime, demand: float) -> None:
    with pytest.raises(ValueError, match=r"start|forward|demand"):
        live.step(None, WORLD, start, stop, demand=demand)


def test_draws_belong_to_their_keys() -> None:
    keys, fate = np.arange(200_000, dtype=np.uint64), live.Fate(5)
    uniform, normal = fate.uniform(keys, 0), fate.normal(keys, 2)
    np.testing.assert_array_equal(fate.uniform(keys[::-1][:9], 0), uniform[::-1][:9])
    assert 0 < uniform.min() < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.003
    assert abs(normal.mean()) < 0.01
    assert abs(normal.std() - 1) < 0.01
    for other in (fate.uniform(keys, 4), live.Fate(6).uniform(keys, 0), np.roll(uniform, 1)):
        assert abs(np.corrcoef(uniform, other)[0, 1]) < 0.01
