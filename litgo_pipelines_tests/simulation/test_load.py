import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from litgo_pipelines.database import connect, sql
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.simulation.load import DERIVED, TABLES, NotOurMarketplace, OtherSimulation, simulate
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.simulation import END, SMALL

TINY: dict[str, Any] = {"seed": 5, "lawyers": 80, "cases": 300, "days": 60, "end": END, "progress": False}


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    with connect(url) as connection, connection.cursor() as cursor:
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


# Each statement counts rows that contradict the rule in its name.
NEVER = {
    "two open contracts on a case": """SELECT count(*) FROM (SELECT FROM contracts
        WHERE status IN ('pending-signature', 'active') GROUP BY case_id HAVING count(*) > 1) x""",
    "two contracts on a case": "SELECT count(*) - count(DISTINCT case_id) FROM contracts",
    "a contract of a lawyer who was not interested": """SELECT count(*) FROM contracts c LEFT JOIN offers o
        USING (case_id, lawyer_id) WHERE o.status IS DISTINCT FROM 'interested' OR o.responded_at > c.created_at""",
    "a contract of another client": """SELECT count(*) FROM contracts JOIN cases ON cases.id = case_id
        WHERE contracts.client_id <> cases.client_id""",
    "a signature that does not fit the status": """SELECT count(*) FROM contracts WHERE
        (status IN ('active', 'closed')) <> (signed_client IS NOT NULL AND signed_lawyer IS NOT NULL)""",
    "a review without a running or closed contract": """SELECT count(*) FROM reviews r JOIN contracts c
        ON c.id = contract_id WHERE c.status NOT IN ('active', 'closed') OR r.created_at <= greatest(
        c.signed_client, c.signed_lawyer) OR (r.lawyer_id, r.client_id) <> (c.lawyer_id, c.client_id)""",
    "a final outcome of a running contract": """SELECT count(*) FROM reviews r JOIN contracts c ON c.id = contract_id
        WHERE c.status = 'active' AND r.outcome <> 'ongoing'""",
    "more than five offers a case": "SELECT count(*) FROM (SELECT FROM offers GROUP BY case_id HAVING count(*) > 5) x",
    "an offer without features logged before it": """SELECT count(*) FROM offers o LEFT JOIN case_matches m
        USING (case_id, lawyer_id) WHERE m.created_at IS NULL OR m.created_at > o.sent_at""",
    "a match without an offer": """SELECT count(*) FROM case_matches m LEFT JOIN offers o USING (case_id, lawyer_id)
        WHERE o.id IS NULL""",
    "a feature outside [0, 1]": """SELECT count(*) FROM case_matches, jsonb_each(features)
        WHERE value <> 'null' AND NOT value::numeric BETWEEN 0 AND 1""",
    "a missing feature that is not flagged": """SELECT count(*) FROM case_matches, jsonb_each(features)
        WHERE value = 'null' AND NOT breakdown->'imputed' ? key""",
    "other features than the eight": """SELECT count(*) FROM case_matches WHERE
        (SELECT string_agg(key, '' ORDER BY key) FROM jsonb_object_keys(features) key) <> 'ACGQRSTU'""",
    "an offer before the case": """SELECT count(*) FROM offers o JOIN cases c ON c.id = case_id
        WHERE o.sent_at <= c.created_at""",
    "an offer to someone who had not joined": """SELECT count(*) FROM offers o JOIN lawyers l ON l.id = lawyer_id
        WHERE o.sent_at <= l.created_at OR NOT l.is_available""",
    "an offer outside the area": """SELECT count(*) FROM offers o JOIN lawyers l ON l.id = lawyer_id
        JOIN cases c ON c.id = case_id WHERE NOT c.area = ANY (l.tags_expertise)""",
    "a primary area not among the tags": "SELECT count(*) FROM lawyers WHERE NOT primary_area = ANY (tags_expertise)",
    "an answer that does not fit the status": """SELECT count(*) FROM offers WHERE
        (status IN ('interested', 'declined')) <> (responded_at IS NOT NULL)
        OR responded_at <= sent_at OR responded_at > expires_at OR expires_at <> sent_at + interval '24 hours'""",
    "an event after the end": f"""SELECT count(*) FROM (
        SELECT created_at FROM profiles UNION ALL SELECT created_at FROM lawyers UNION ALL SELECT created_at FROM cases
        UNION ALL SELECT created_at FROM case_matches UNION ALL SELECT sent_at FROM offers
        UNION ALL SELECT responded_at FROM offers UNION ALL SELECT created_at FROM contracts
        UNION ALL SELECT signed_client FROM contracts UNION ALL SELECT signed_lawyer FROM contracts
        UNION ALL SELECT created_at FROM reviews) x WHERE created_at > '{END.isoformat()}'""",
    "an offer still open a day later": f"""SELECT count(*) FROM offers
        WHERE (status = 'pending') AND expires_at <= '{END.isoformat()}'""",
    "an expired offer that had time": f"""SELECT count(*) FROM offers
        WHERE (status = 'expired') AND expires_at > '{END.isoformat()}'""",
    "a rating that is not what the reviews say": """SELECT count(*) FROM lawyers l LEFT JOIN (SELECT lawyer_id,
        count(*) AS n, round(avg(rating), 2) AS mean FROM reviews GROUP BY 1) r ON r.lawyer_id = l.id
        WHERE l.review_count <> coalesce(r.n, 0) OR abs(l.rating - r.mean) > 0.01
        OR (l.rating IS NULL) <> (r.n IS NULL)""",
    "an address outside example.com": "SELECT count(*) FROM profiles WHERE email NOT LIKE '%@example.com'",
    "an unrecognisable id": "SELECT count(*) FROM offers WHERE id::text NOT LIKE '51a1%'",
}


@pytest.mark.parametrize("rule", NEVER)
def test_what_never_happens(simulated_url: str, rule: str) -> None:
    assert query(simulated_url, NEVER[rule]) == [(0,)]


def test_everything_a_marketplace_has_occurs(simulated_url: str) -> None:
    assert {s for (s,) in query(simulated_url, "SELECT DISTINCT status FROM offers")} == {
        "pending", "interested", "declined", "expired",
    }  # fmt: skip
    assert {s for (s,) in query(simulated_url, "SELECT DISTINCT status FROM contracts")} == {
        "pending-signature", "active", "closed", "canceled",
    }  # fmt: skip
    assert {s for (s,) in query(simulated_url, "SELECT DISTINCT status FROM cases")} == {
        "pending_assignment", "assigned", "in_progress", "closed", "cancelled",
    }  # fmt: skip
    assert {s for (s,) in query(simulated_url, "SELECT DISTINCT outcome FROM reviews")} == {
        "won", "lost", "settled", "ongoing",
    }  # fmt: skip
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
        ("offers", "INSERT INTO offers (case_id, lawyer_id) SELECT c.id, l.id FROM cases c, lawyers l WHERE NOT EXISTS "
         "(SELECT FROM offers o WHERE (o.case_id, o.lawyer_id) = (c.id, l.id)) LIMIT 1"),
    ],
)  # fmt: skip
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
    code = (
        "import sys, datetime\nfrom litgo_pipelines.simulation.load import simulate\n"
        f"simulate(sys.argv[1], **{parameters!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code, database_url], stderr=subprocess.DEVNULL)
    backend = (
        "SELECT query FROM pg_stat_activity WHERE application_name = 'litgo-simulate' AND datname = current_database()"
    )
    try:
        deadline = time.monotonic() + 60
        while not any(q.startswith("COPY public.offers") for (q,) in query(database_url, backend)):
            assert process.poll() is None, "ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
    while query(database_url, backend):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert rows(database_url) == dict.fromkeys(TABLES, 0)
    assert structure(database_url) == before
    assert query(database_url, "SELECT simulated_at, simulation FROM litgo.own_marketplace") == [(None, None)]
    assert simulate(database_url, **TINY)["loaded"] is True
