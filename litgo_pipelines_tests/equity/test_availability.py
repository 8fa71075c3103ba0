"""When a lawyer could be offered a case, and the share of the demand that came meanwhile."""

import threading
from datetime import timedelta
from pathlib import Path

import numpy as np
import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.database import sql
from litgo_pipelines.equity import availability
from litgo_pipelines.equity.capacity import capacity_rules
from litgo_pipelines.equity.load import read_window, record_night, run_night
from litgo_pipelines.equity.share import PRIOR_CASES, Demand, Stretches, shares
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines_tests.worlds.matching import AS_OF, fill
from litgo_pipelines_tests.worlds.sessions import ask, kept

DAY = timedelta(days=1)
WINDOW = (0.0, 30.0)  # days


def demand(*per_day: float) -> Demand:
    days = np.arange(len(per_day), dtype=float)
    return Demand(np.array(["Civil|SP"] * len(per_day)), days, days + 1, np.array(per_day))


def one(*stretches: tuple[float, float]) -> Stretches:
    starts, ends = np.array(stretches, float).reshape(-1, 2).T
    return Stretches(["a"], np.array(["Civil|SP"]), np.zeros(len(starts), np.int64), starts, ends)


def test_without_any_case_days_are_what_counts() -> None:
    assert shares(one((20, 30)), demand(), WINDOW)[0] == pytest.approx(1 / 3)
    assert shares(one(), demand(), WINDOW)[0] == 0


def test_a_day_counts_as_many_times_as_cases_came_on_it() -> None:
    """Demand falls to a fifth on the day somebody joins, and rises fivefold."""
    fell, rose = demand(*[50] * 20, *[10] * 10), demand(*[10] * 20, *[50] * 10)
    assert shares(one((20, 30)), fell, WINDOW)[0] == pytest.approx((100 + PRIOR_CASES / 3) / (1100 + PRIOR_CASES))
    assert shares(one((20, 30)), rose, WINDOW)[0] == pytest.approx((500 + PRIOR_CASES / 3) / (700 + PRIOR_CASES))


def test_of_another_pool_s_cases_nothing_counts() -> None:
    elsewhere = Demand(np.array(["Civil|RJ"]), np.array([29.0]), np.array([30.0]), np.array([999.0]))
    assert shares(one((0, 15)), elsewhere, WINDOW)[0] == pytest.approx(0.5)


def test_a_case_without_a_place_counts_in_every_state() -> None:
    anywhere = Demand(np.array(["Civil|??"] * 2), np.array([1.0, 29]), np.array([2.0, 30]), np.array([10.0, 30]))
    assert shares(one((20, 30)), anywhere, WINDOW)[0] == pytest.approx((30 + PRIOR_CASES / 3) / (40 + PRIOR_CASES))


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted), max_size=6),
    st.lists(st.integers(0, 9), min_size=30, max_size=30),
)
def test_overlapping_stretches_count_once(parts: list[list[int]], cases: list[int]) -> None:
    days = {day for start, end in parts for day in range(start, end)}
    expected = sum(cases[day] + PRIOR_CASES / 30 for day in days) / (sum(cases) + PRIOR_CASES)
    found = shares(one(*((float(start), float(end)) for start, end in parts)), demand(*cases), WINDOW)
    assert found[0] == pytest.approx(expected, abs=1e-9)


def share(url: str, lawyer: int, days_later: float) -> float:
    at = AS_OF + days_later * DAY
    with kept(url) as connection, connection, connection.cursor() as cursor:
        stretches, found = availability.read_shares(cursor, at)
        cursor.execute("SELECT md5('lawyer ' || %s)::uuid::text", (lawyer,))
        return float(availability.shares_of([cursor.fetchone()[0]], stretches, found)[0])


def record(url: str, days_later: float) -> None:
    with kept(url) as connection, connection, connection.cursor() as cursor:
        availability.record(cursor, AS_OF + days_later * DAY)
        availability.record_accounts(cursor)


HERE = "WHERE id = md5('lawyer 1')::uuid"


@pytest.mark.parametrize(
    ("joined", "leave_from", "leave_until", "expected"),
    [
        (-15, None, None, 0.5),
        (1, None, None, 0),
        (-90, -15, None, 0.5),
        (-90, None, -6, 0.2),
        (-90, -20, -5, 0.5),
        (-18, -20, -15, 0.5),
        (-90, -90, -60, 1),
        (-90, 9, 60, 1),
    ],
)
def test_before_anything_was_recorded_the_date_of_joining_and_the_leave_say_it(
    leave_url: str, joined: float, leave_from: float | None, leave_until: float | None, expected: float
) -> None:
    fill(leave_url, lawyers=6, cases=0)
    instants = [None if days is None else AS_OF + days * DAY for days in (joined, leave_from, leave_until)]
    ask(leave_url, "UPDATE public.lawyers SET created_at = %s, leave_from = %s, leave_until = %s " + HERE, instants)
    assert share(leave_url, 1, 0) == pytest.approx(expected)
    assert share(leave_url, 2, 0) == 1


@pytest.fixture
def leave_url(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A marketplace whose lawyers have leaves."""
    ask(database_url, "ALTER TABLE public.lawyers ADD leave_from timestamptz, ADD leave_until timestamptz")
    mapping = sql("litgo_pipelines.marketplace.mappings", "default.yaml")
    for column in ("leave_from", "leave_until"):
        mapping = mapping.replace(f"{column}: null", f"{column}: {column}")
    (tmp_path / "leaves.yaml").write_text(mapping)
    monkeypatch.setenv("LITGO_MARKETPLACE_MAPPING", str(tmp_path / "leaves.yaml"))
    migrate(database_url)
    return database_url


def test_what_was_seen_is_what_counts_from_then_on(database_url: str) -> None:
    fill(database_url, lawyers=6, cases=0)
    record(database_url, 0)
    ask(database_url, "UPDATE lawyers SET is_available = false " + HERE)
    record(database_url, 10)
    record(database_url, 11)
    ask(database_url, "UPDATE lawyers SET is_available = true " + HERE)
    record(database_url, 25)
    assert ask(database_url, "SELECT count(*) FROM litgo.lawyer_availability") == [(7,)]
    assert share(database_url, 1, 30) == pytest.approx(0.5)
    assert share(database_url, 1, 60) == pytest.approx(1)
    assert share(database_url, 1, 25) == pytest.approx(0.5)  # there for five days before it was recorded, too
    assert share(database_url, 2, 30) == 1
    # an earlier night, computed later
    assert share(database_url, 1, 20) == pytest.approx(2 / 3)
    assert share(database_url, 1, 10) == 1


def test_accounts_of_one_lawyer_have_one_history(database_url: str) -> None:
    fill(database_url, lawyers=4, cases=0)
    ask(database_url, "UPDATE lawyers SET oab_number = 'OAB/SP 9.001' " + HERE)
    ask(database_url, "UPDATE lawyers SET oab_number = 'SP009001', created_at = %s " + HERE.replace("1", "2"), (AS_OF,))
    record(database_url, 1)
    assert share(database_url, 2, 1) == share(database_url, 1, 1) == 1
    ask(database_url, "UPDATE lawyers SET oab_number = '9002' " + HERE.replace("1", "2"))
    record(database_url, 2)
    assert share(database_url, 2, 2) < 0.1


def test_two_who_look_at_once_write_each_stretch_once(database_url: str) -> None:
    fill(database_url, lawyers=40, cases=0)
    record(database_url, 0)
    for free in (False, True):
        ask(database_url, "UPDATE lawyers SET is_available = %s", (free,))
        threads = [threading.Thread(target=record, args=(database_url, 1 + free + n / 100)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    rows = ask(
        database_url, "SELECT count(*), count(valid_to), count(DISTINCT lawyer_id) FROM litgo.lawyer_availability"
    )
    assert rows == [(80, 40, 40)]


def test_the_night_records_counts_the_demand_and_divides_by_the_time_there(database_url: str) -> None:
    fill(database_url, lawyers=30, cases=40)
    ask(database_url, "UPDATE lawyers SET created_at = %s - interval '20 days' " + HERE, (AS_OF,))
    ask(
        database_url,
        "UPDATE cases SET created_at = %s - (row - 1) * interval '12 hours' - interval '1 minute' FROM "
        "(SELECT id, row_number() OVER (ORDER BY id) AS row FROM cases) n WHERE n.id = cases.id",
        (AS_OF,),
    )
    with kept(database_url) as connection:
        for _ in range(2):
            with connection:
                run_night(connection, AS_OF.date(), AS_OF, capacity_rules())
                record_night(connection, AS_OF.date(), AS_OF)
                lawyers, cases = read_window(connection, AS_OF.date(), AS_OF)
    assert ask(database_url, "SELECT count(*), min(valid_from) FROM litgo.lawyer_availability") == [(30, AS_OF)]
    assert ask(
        database_url, "SELECT sum(cases), min(starts), max(ends), count(DISTINCT area) FROM litgo.pool_demand"
    ) == [(40, AS_OF - 20 * DAY, AS_OF, 2)]
    assert len(cases.area) == 40
    assert sorted(lawyers.active_share)[1] == 1
    assert 2 / 3 < min(lawyers.active_share) < 1  # all cases came in the days of the newcomer
    # by day and one by one it is the same, but for the day in which somebody joined
    after = share(database_url, 1, 1)
    ask(database_url, "DELETE FROM litgo.demand_night")
    assert share(database_url, 1, 1) == pytest.approx(after, abs=0.03)


def test_an_earlier_night_leaves_what_a_later_one_wrote(database_url: str) -> None:
    fill(database_url, lawyers=5, cases=3)
    written = "SELECT array_agg(d ORDER BY d.starts) FROM litgo.pool_demand d"
    with kept(database_url) as connection, connection:
        run_night(connection, AS_OF.date(), AS_OF, capacity_rules())
        record_night(connection, AS_OF.date(), AS_OF)
        read_window(connection, AS_OF.date(), AS_OF)
    seen = ask(database_url, written)
    ask(database_url, "UPDATE lawyers SET is_available = false " + HERE)
    with kept(database_url) as connection, connection:
        run_night(connection, (AS_OF - 5 * DAY).date(), AS_OF - 5 * DAY, capacity_rules())
        record_night(connection, (AS_OF - 5 * DAY).date(), AS_OF - 5 * DAY)
        read_window(connection, (AS_OF - 5 * DAY).date(), AS_OF - 5 * DAY)
    assert ask(database_url, written) == seen
    assert ask(database_url, "SELECT count(*) FROM litgo.lawyer_availability WHERE valid_to IS NULL") == [(5,)]


@pytest.mark.parametrize(
    ("change", "oldest"),
    [
        ("SELECT 1", 2),
        (f"UPDATE public.lawyers SET oab_number = 'RJ 8' {HERE}", None),
        (f"UPDATE public.lawyers SET created_at = created_at - interval '9 days' {HERE}", 1),
        ("UPDATE public.lawyers SET oab_number = 'SP 7' WHERE id = md5('lawyer 3')::uuid", 3),
        ("DELETE FROM litgo.lawyer_accounts", 2),
        ("UPDATE litgo.lawyer_accounts SET person_id = lawyer_id", 2),
    ],
)
def test_accounts_of_one_lawyer_are_looked_for_when_something_changed(
    database_url: str, change: str, oldest: int | None
) -> None:
    fill(database_url, lawyers=4, cases=0)
    ask(
        database_url,
        "UPDATE public.lawyers SET created_at = created_at - right(name, 1)::int * interval '1 day', "
        "oab_number = CASE WHEN right(name, 1)::int < 3 THEN 'SP 7' ELSE 'SP 1' || right(name, 1) END",
    )
    record(database_url, 0)
    ask(database_url, change)
    record(database_url, 1)
    found = ask(database_url, "SELECT DISTINCT person_id FROM litgo.lawyer_accounts")
    assert found == ([] if oldest is None else ask(database_url, "SELECT md5('lawyer ' || %s)::uuid", (oldest,)))


def test_numbers_that_nobody_changed_are_not_read_again(database_url: str) -> None:
    """Every matching would read those of all lawyers, which takes half a second at 100,000."""
    fill(database_url, lawyers=4, cases=0)
    ask(database_url, "UPDATE public.lawyers SET oab_number = 'SP ' || right(name, 1)")
    record(database_url, 0)
    ask(
        database_url,
        "CREATE OR REPLACE FUNCTION litgo.oab_key(number text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS "
        "$$ BEGIN RAISE 'it was read'; END $$",
    )
    record(database_url, 1)
    ask(database_url, "DELETE FROM litgo.schema_migrations WHERE version > 100")  # another version of ours
    with pytest.raises(psycopg2.errors.RaiseException, match="it was read"):
        record(database_url, 2)
