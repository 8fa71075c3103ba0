import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import psycopg2
import pytest

from litgo_pipelines.database import sql
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.simulation.load import (
    KEPT,
    OUTLASTING,
    TABLES,
    NotOurMarketplace,
    OtherSimulation,
    refuse_others,
    reset,
    simulate,
)
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.processes import Child
from litgo_pipelines_tests.worlds.sessions import kept
from litgo_pipelines_tests.worlds.simulation import END, NEVER, SMALL

TINY: dict[str, Any] = {"seed": 5, "lawyers": 80, "cases": 300, "days": 60, "end": END, "progress": False}


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Rows of the marketplace's tables, not of the source views."""
    with kept(url) as connection, connection, connection.cursor() as cursor:
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


COMPUTED = (
    "INSERT INTO litgo.matching_batches (as_of, case_ids, rounds, parameters, ranker, run_id) "
    "SELECT now(), array_agg(id), array_agg(1), '{}', 'hand_weights', 'x' FROM cases",
    "INSERT INTO litgo.evidence_refresh (as_of) VALUES (now())",
    "INSERT INTO litgo.source_counts VALUES ('cases', 1000000, now())",
    "INSERT INTO litgo.metric_state VALUES ('offers_created_total', '{}', 5)",
    "INSERT INTO litgo.model_ledger (sequence, transition, transition_key, version, evidence, run_id) "
    "VALUES (1, 'candidate', 'x', '1', '{}', 'x')",
)
OFFER = "INSERT INTO offers (case_id, lawyer_id) SELECT case_id, lawyer_id FROM unoffered"
UNOFFERED = (  # a simulated case and a simulated lawyer
    "CREATE TABLE unoffered AS SELECT c.id AS case_id, l.id AS lawyer_id FROM cases c, lawyers l WHERE NOT EXISTS "
    "(SELECT FROM offers o WHERE (o.case_id, o.lawyer_id) = (c.id, l.id)) LIMIT 1"
)
MATCHED = (
    "INSERT INTO litgo.matchings SELECT case_id, 1, 1, now(), 5, 50, 0.6, 0, "
    "jsonb_build_array(jsonb_build_object('lawyer_id', lawyer_id, 'offered', true)) FROM unoffered"
)


def left(url: str) -> set[str]:
    """Tables of ours with a row."""
    names = query(url, "SELECT relname FROM pg_class WHERE relnamespace = 'litgo'::regnamespace AND relkind = 'r'")
    return {name for (name,) in names if query(url, f"SELECT EXISTS (SELECT FROM litgo.{name})")[0][0]}


def test_what_was_computed_from_a_replaced_marketplace_goes_with_it(database_url: str) -> None:
    simulate(database_url, **TINY)
    execute(database_url, *COMPUTED, UNOFFERED, MATCHED, OFFER)
    assert left(database_url) > {"matchings", "source_counts"}
    simulate(database_url, **TINY, replace=True)
    assert left(database_url) <= {*KEPT, *OUTLASTING, "model_ledger"}
    assert {"metric_state", "model_ledger"} <= left(database_url)
    assert query(database_url, "SELECT count(*) FROM offers WHERE id::text NOT LIKE '51a1%'") == [(0,)]


def test_an_offer_of_ours_to_the_simulated_is_no_reason_to_refuse_and_anothers_is(database_url: str) -> None:
    simulate(database_url, **TINY)
    execute(database_url, UNOFFERED, COMPUTED[0], MATCHED, OFFER)
    assert simulate(database_url, **TINY)["loaded"] is False
    execute(database_url, "UPDATE litgo.matchings SET considered = '[]'")
    assert "public.offers holds 1 rows" in refused(database_url)


def test_a_reset_leaves_what_migrate_leaves(database_url: str) -> None:
    fresh = left(database_url)
    before = structure(database_url)
    simulate(database_url, **TINY)
    execute(database_url, *COMPUTED)
    assert reset(database_url).rows["cases"] == 300
    assert rows(database_url) == dict.fromkeys(TABLES, 0)
    assert left(database_url) == fresh
    assert structure(database_url) == before
    with pytest.raises(psycopg2.errors.RaiseException, match="append-only"):
        execute(database_url, COMPUTED[-1], "DELETE FROM litgo.model_ledger")
    assert simulate(database_url, **TINY | {"seed": 6})["loaded"] is True


def test_a_reset_refuses_by_name_what_the_simulation_did_not_fill(database_url: str) -> None:
    execute(database_url, "INSERT INTO lawyers (name) VALUES ('x')")
    name = query(database_url, "SELECT current_database()")[0][0]
    with pytest.raises(NotOurMarketplace, match=rf"'{name}' at .* was not filled by the simulation"):
        reset(database_url, added=True)
    execute(database_url, "DELETE FROM litgo.own_marketplace")
    with pytest.raises(NotOurMarketplace, match="was not created by"):
        reset(database_url, added=True)
    assert rows(database_url)["lawyers"] == 1


def test_a_marketplace_of_somebody_is_refused_before_anything_is_migrated(database_url: str) -> None:
    refuse_others(database_url)
    execute(database_url, "DROP SCHEMA litgo CASCADE")
    with pytest.raises(NotOurMarketplace, match="was not created by"):
        refuse_others(database_url)
    execute(database_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    refuse_others(database_url)


def test_a_reset_takes_added_rows_only_when_told(database_url: str) -> None:
    simulate(database_url, **TINY)
    execute(database_url, "INSERT INTO cases (client_id) SELECT id FROM profiles LIMIT 1")
    with pytest.raises(NotOurMarketplace, match=r"public.cases holds 1 rows .* --added"):
        reset(database_url)
    assert rows(database_url)["cases"] == 301
    assert reset(database_url, added=True).added == {"cases": 1}
    assert rows(database_url) == dict.fromkeys(TABLES, 0)


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


@pytest.mark.slow
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
