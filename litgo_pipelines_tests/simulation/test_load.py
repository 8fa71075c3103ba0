import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from litgo_pipelines.database import connect, sql
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.simulation.load import DERIVED, TABLES, NotOurMarketplace, OtherSimulation, simulate
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.processes import Child
from litgo_pipelines_tests.worlds.simulation import END, NEVER, SMALL

TINY: dict[str, Any] = {"seed": 5, "lawyers": 80, "cases": 300, "days": 60, "end": END, "progress": False}


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Rows of the marketplace's tables, not of the source views."""
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET LOCAL search_path = pg_catalog, public, pg_temp")
        cursor.execute(statement)
        return cursor.fetchall()


def digest(url: str) -> dict[str, Any]:
    """One hash a table over the text of all its rows, in the order they were loaded."""
    return {t: query(url, f"SELECT md5(string_agg(t::text, '|' ORDER BY ctid)) FROM {t} t")[0][0] for t in TABLES}


def structure(url: str) -> set[tuple[Any, ...]]:
    return {
        *query(url, "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"),
        *query(url, "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"),
    }


def rows(url: str) -> dict[str, int]:
    return {table: query(url, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}


@pytest.mark.parametrize("rule", NEVER)
def test_what_never_happens(simulated_url: str, rule: str) -> None:
    assert query(simulated_url, NEVER[rule]) == [(0,)]


def test_everything_a_marketplace_has_occurs(simulated_url: str) -> None:
    assert {s for (s,) in query(simulated_url, "SELECT DISTINCT status FROM offers")} == {
        "pending",
        "interested",
        "declined",
        "expired",
    }
    assert {s for (s,) in query(simulated_url, "SELECT DISTINCT status FROM contracts")} == {
        "pending-signature",
        "active",
        "closed",
        "canceled",
    }
    assert {s for (s,) in query(simulated_url, "SELECT DISTINCT status FROM cases")} == {
        "pending_assignment",
        "assigned",
        "in_progress",
        "closed",
        "cancelled",
    }
    assert {s for (s,) in query(simulated_url, "SELECT DISTINCT outcome FROM reviews")} == {
        "won",
        "lost",
        "settled",
        "ongoing",
    }
    assert query(
        simulated_url,
        "SELECT count(*) > 100, bool_or(features->'R' <> 'null') FROM case_matches WHERE breakdown->'imputed' ? 'R'",
    ) == [(True, True)]
    assert query(
        simulated_url,
        "SELECT bool_or(max_concurrent_cases IS NULL) AND bool_or(curriculo_json IS NULL) AND "
        "bool_or(kpi ? 'success_rate') AND NOT bool_and(kpi ? 'success_rate') AND "
        "bool_or(curriculo_json ? 'porte_escritorio') FROM lawyers",
    ) == [(True,)]
    assert query(simulated_url, "SELECT count(DISTINCT area), count(DISTINCT subarea) > 30 FROM cases") == [(10, True)]


def test_counts_are_what_is_there_and_structure_is_restored(database_url: str) -> None:
    before = structure(database_url)
    result = simulate(database_url, **TINY)
    assert result.pop("loaded") is True
    assert result == rows(database_url)
    assert result["lawyers"] == 80
    assert result["cases"] == 300
    assert structure(database_url) == before
    assert query(database_url, "SELECT simulated_at IS NOT NULL, simulation->>'seed' FROM litgo.own_marketplace") == [
        (True, "5")
    ]


def test_same_parameters_same_bytes_whatever_was_there_before(database_url: str) -> None:
    simulate(database_url, **TINY)
    first = digest(database_url)
    simulate(database_url, **TINY | {"seed": 6}, replace=True)
    other = digest(database_url)
    assert all(first[table] != other[table] for table in TABLES)
    simulate(database_url, **TINY, replace=True)
    assert digest(database_url) == first


def test_a_rerun_changes_nothing_and_says_so(database_url: str) -> None:
    result = simulate(database_url, **TINY)
    written = "SELECT simulated_at, (SELECT max(xmin::text::bigint) FROM offers) FROM litgo.own_marketplace"
    loaded = query(database_url, written)
    assert simulate(database_url, **TINY) == result | {"loaded": False}
    assert loaded == query(database_url, written)


def test_other_parameters_are_refused_unless_replace(database_url: str) -> None:
    simulate(database_url, **TINY)
    before = digest(database_url)
    with pytest.raises(OtherSimulation, match=r'"cases": 300.*"cases": 200.*replace'):
        simulate(database_url, **TINY | {"cases": 200})
    assert digest(database_url) == before
    assert simulate(database_url, **TINY | {"cases": 200}, replace=True)["cases"] == rows(database_url)["cases"] == 200


def test_what_was_computed_from_a_replaced_marketplace_goes_with_it(database_url: str) -> None:
    simulate(database_url, **TINY)
    batch = "INSERT INTO litgo.matching_batches (as_of, case_ids, rounds, parameters, ranker, run_id)"
    execute(
        database_url,
        f"{batch} SELECT now(), array_agg(id), array_agg(1), '{{}}', 'hand_weights', 'x' FROM cases",
        "INSERT INTO litgo.matchings SELECT id, 1, 1, now(), 5, 50, 0.6, 0, '[]' FROM cases",
        "INSERT INTO litgo.evidence_refresh (as_of) VALUES (now())",
        "INSERT INTO litgo.metric_state VALUES ('offers_created_total', '{}', 5)",
    )
    simulate(database_url, **TINY | {"seed": 6}, replace=True)
    for table in DERIVED:
        assert query(database_url, f"SELECT count(*) FROM litgo.{table}") == [(0,)], table
    assert query(database_url, "SELECT value FROM litgo.metric_state") == [(5,)]


def test_two_loads_at_once_load_once(database_url: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: simulate(database_url, **TINY), range(2)))
    assert sorted(result["loaded"] for result in results) == [False, True]
    assert rows(database_url)["cases"] == 300


def refused(url: str, **changes: Any) -> str:
    before = rows(url)
    with pytest.raises(NotOurMarketplace) as error:
        simulate(url, **TINY, **changes)
    assert rows(url) == before
    assert "litgo migrate" in str(error.value)
    return str(error.value)


def test_a_marketplace_we_did_not_create_is_refused(database_url: str) -> None:
    execute(database_url, "DELETE FROM litgo.own_marketplace")
    assert "was not created by" in refused(database_url, replace=True)


def test_an_existing_marketplace_is_refused_after_migrate(postgres_server_url: str, database_url: str) -> None:
    execute(database_url, "DROP SCHEMA litgo CASCADE", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    execute(database_url, sql("litgo_pipelines.marketplace", "tables.sql"))
    refused(database_url)  # before migrate
    migrate(database_url)
    refused(database_url)


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("lawyers", "INSERT INTO lawyers (name) VALUES ('x')"),
        ("profiles", "INSERT INTO profiles DEFAULT VALUES"),
        ("cases", "INSERT INTO cases (client_id) SELECT id FROM profiles LIMIT 1"),
        (
            "offers",
            "INSERT INTO offers (case_id, lawyer_id) SELECT c.id, l.id FROM cases c, lawyers l WHERE NOT EXISTS "
            "(SELECT FROM offers o WHERE (o.case_id, o.lawyer_id) = (c.id, l.id)) LIMIT 1",
        ),
    ],
)
def test_one_row_of_somebody_else_is_enough_to_refuse(database_url: str, table: str, row: str) -> None:
    simulate(database_url, **TINY)
    execute(database_url, row)
    assert table in refused(database_url)
    assert table in refused(database_url, replace=True)


def test_a_row_in_an_empty_marketplace_refuses_even_with_our_prefix(database_url: str) -> None:
    execute(database_url, "INSERT INTO profiles (id) VALUES ('51a10000-0000-4000-8000-000000000001')")
    assert "profiles" in refused(database_url)


def test_a_kill_in_the_middle_leaves_nothing(database_url: str) -> None:
    before = structure(database_url)
    parameters = {**SMALL, "lawyers": 2000, "cases": 80_000}
    child = Child(partial(simulate, database_url, **parameters))
    backend = (
        "SELECT query FROM pg_stat_activity WHERE application_name = 'litgo-simulate' AND datname = current_database()"
    )
    try:
        deadline = time.monotonic() + 120
        while not any(q.startswith("COPY public.offers") for (q,) in query(database_url, backend)):
            assert child.alive(), "ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        child.kill()
        assert child.wait() == -signal.SIGKILL
    while query(database_url, backend):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert rows(database_url) == dict.fromkeys(TABLES, 0)
    assert structure(database_url) == before
    assert query(database_url, "SELECT simulated_at, simulation FROM litgo.own_marketplace") == [(None, None)]
    assert simulate(database_url, **TINY)["loaded"] is True
