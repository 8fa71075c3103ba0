"""`load.sql` against the rules as written in words, on a real Postgres."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from litgo_pipelines.database import Connection, connect, sql
from litgo_pipelines.equity.availability import filled
from litgo_pipelines.equity.capacity import capacity_rules
from litgo_pipelines.equity.load import run_night
from litgo_pipelines_tests.worlds.rows import Marketplace
from litgo_pipelines_tests.worlds.sessions import kept

AS_OF = datetime(2026, 3, 10, 5, tzinfo=UTC)
NIGHT = date(2026, 3, 9)
RULES = capacity_rules()


@pytest.fixture
def market(database_url: str) -> Iterator[Marketplace]:
    with kept(database_url) as connection, connection:
        yield Marketplace(connection, AS_OF)


def history(connection: Connection, night: date = NIGHT) -> dict[str, tuple]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT lawyer_id::text, cases_30d, capacidade_mensal, last_offered_at, offers_30d, load "
            "FROM litgo.equity_history WHERE night = %s",
            (night,),
        )
        return {row[0]: row[1:] for row in cursor.fetchall()}


def night(market: Marketplace, **overrides: Any):
    return run_night(
        market.connection, overrides.pop("night", NIGHT), overrides.pop("as_of", AS_OF), capacity_rules(overrides)
    )


def test_a_case_counts_once_by_contract_or_by_interest(market: Marketplace) -> None:
    ana, rui = market.lawyer(), market.lawyer()
    signed = market.case()
    market.offer(signed, ana, status="interested", responded_at=AS_OF - timedelta(days=8))
    market.offer(signed, rui, status="interested", responded_at=AS_OF - timedelta(days=8))  # lost to Ana
    market.contract(signed, ana)
    open_case = market.case()
    market.offer(open_case, ana, status="interested", responded_at=AS_OF - timedelta(days=2))
    canceled = market.case()
    market.contract(canceled, ana, status="canceled")
    market.offer(canceled, rui, status="interested", responded_at=AS_OF - timedelta(days=3))  # free again
    night(market)
    rows = history(market.connection)
    assert rows[ana][0] == 2
    assert rows[rui][0] == 1


def test_the_window_is_half_open_and_the_future_does_not_count(market: Marketplace) -> None:
    ana = market.lawyer()
    for created in (
        AS_OF - timedelta(days=30),
        AS_OF - timedelta(days=30, seconds=1),
        AS_OF,
        AS_OF + timedelta(days=1),
    ):
        case = market.case()
        market.contract(case, ana, created_at=created)
        market.offer(case, ana, sent_at=created)
    market.lawyer(created_at=AS_OF + timedelta(hours=1))
    result = night(market)
    assert result.rows_read == 1
    cases, _, last_offered, offers, _ = history(market.connection)[ana]
    assert (cases, offers) == (1, 1)
    assert last_offered == AS_OF - timedelta(days=30)


@pytest.mark.parametrize(
    ("profile", "capacity"),
    [
        ({}, 10),
        ({"curriculo_json": {"anos_experiencia": 2}}, 10),
        ({"curriculo_json": {"anos_experiencia": 2.5}}, 11),
        ({"curriculo_json": {"anos_experiencia": 6}}, 13),
        ({"curriculo_json": {"anos_experiencia": 11}}, 15),
        ({"oab_inscription_date": date(2020, 3, 1)}, 13),
        ({"curriculo_json": {"anos_experiencia": -4}, "oab_inscription_date": date(2020, 3, 1)}, 13),
        ({"curriculo_json": {"anos_experiencia": "muitos"}}, 10),
        ({"curriculo_json": {"anos_experiencia": 1e300, "porte_escritorio": "médio?"}}, 10),
        ({"curriculo_json": {"porte_escritorio": "Pequeno"}}, 12),
        ({"curriculo_json": {"porte_escritorio": "medio"}}, 15),
        ({"curriculo_json": {"porte_escritorio": "Médio"}}, 15),
        ({"curriculo_json": {"porte_escritorio": " Escritório de Médio porte "}}, 15),
        ({"curriculo_json": {"anos_experiencia": "doze anos"}}, 15),
        ({"curriculo_json": {"anos_experiencia": "desde 1998"}}, 15),
        ({"curriculo_json": {"anos_experiencia": "12"}}, 15),
        ({"curriculo_json": {"porte_escritorio": "grande"}}, 20),
        ({"kpi": {"success_rate": 0.6}}, 10),
        ({"kpi": {"success_rate": 0.61}}, 11),
        ({"kpi": {"success_rate": 0.9}}, 13),
        ({"kpi": {"success_rate": 85}}, 10),
        ({"kpi": {"success_rate": None}}, 10),
        ({"curriculo_json": {"anos_experiencia": 40, "porte_escritorio": "grande"}, "kpi": {"success_rate": 0.95}}, 28),
        ({"max_concurrent_cases": 3}, 3),
        ({"max_concurrent_cases": 0}, 10),
        ({"max_concurrent_cases": -7}, 10),
        ({"max_concurrent_cases": 2_000_000_000}, 10),
        ({"capacidade_mensal": -5, "cases_30d": -1}, 10),
    ],
)
def test_capacity(market: Marketplace, profile: dict, capacity: int) -> None:
    ana = market.lawyer(**profile)
    night(market)
    assert history(market.connection)[ana][1] == capacity


def test_capacity_rules_can_be_overridden(market: Marketplace) -> None:
    ana = market.lawyer(curriculo_json={"anos_experiencia": 4})
    night(market, base=1, minimum=1, years={"3": 6})
    assert history(market.connection)[ana][1] == 7


def test_only_the_newest_night_is_written_back_and_only_changes(market: Marketplace) -> None:
    ana, rui = market.lawyer(), market.lawyer()
    market.contract(market.case(), ana)
    first = night(market)
    assert (first.rows_read, first.rows_changed, first.lawyers_changed) == (2, 2, 2)
    again = night(market)
    assert (again.rows_changed, again.lawyers_changed) == (0, 0)
    older = night(market, night=NIGHT - timedelta(days=20), as_of=AS_OF - timedelta(days=20))
    assert (older.rows_changed, older.lawyers_changed) == (2, 0)
    market.offer(market.case(), rui, sent_at=AS_OF + timedelta(hours=5))
    newer = night(market, night=NIGHT + timedelta(days=1), as_of=AS_OF + timedelta(days=1))
    assert (newer.rows_changed, newer.lawyers_changed) == (2, 1)
    with market.connection.cursor() as cursor:
        cursor.execute("SELECT id::text, cases_30d, capacidade_mensal, last_offered_at, equity_updated_at FROM lawyers")
        lawyers = {row[0]: row[1:] for row in cursor.fetchall()}
    assert lawyers[ana] == (1, 10, None, AS_OF)
    assert lawyers[rui] == (0, 10, AS_OF + timedelta(hours=5), AS_OF + timedelta(days=1))


def test_a_rerun_forgets_deleted_lawyers(market: Marketplace) -> None:
    market.lawyer()
    gone = market.lawyer()
    night(market)
    with market.connection.cursor() as cursor:
        cursor.execute("DELETE FROM lawyers WHERE id = %s", (gone,))
    assert night(market).rows_changed == 1
    assert len(history(market.connection)) == 1


@pytest.mark.parametrize("file", ["distribution_lawyers.sql", "write_back.sql"])
def test_a_night_no_statistics_know_yet_is_planned_as_one_of_all_lawyers(market: Marketplace, file: str) -> None:
    for _ in range(100):
        market.lawyer()
    for days in range(5, 0, -1):
        night(market, night=NIGHT - timedelta(days=days), as_of=AS_OF - timedelta(days=days))
    with market.connection.cursor() as cursor:
        cursor.execute("ANALYZE litgo.equity_history")
        night(market)
        statement = filled(sql("litgo_pipelines.equity", file))
        cursor.execute("EXPLAIN (FORMAT JSON) " + statement, {"night": NIGHT, "as_of": AS_OF, "ids": None})
        (((root,),),) = cursor.fetchall()
    nodes = [root["Plan"]]
    for node in nodes:
        nodes += node.get("Plans", [])
    (rows,) = (node["Plan Rows"] for node in nodes if node.get("Alias") == "h")
    assert rows >= 50


def test_two_contracts_on_one_case_count_once(market: Marketplace) -> None:
    with market.connection.cursor() as cursor:
        cursor.execute("DROP INDEX public.contracts_one_open_per_case")
    ana, case = market.lawyer(), market.case()
    market.contract(case, ana)
    market.contract(case, ana, status="pending-signature")
    night(market)
    assert history(market.connection)[ana][0] == 1


def test_empty_tables_give_an_empty_night(market: Marketplace) -> None:
    result = night(market)
    assert (result.rows_read, result.rows_changed, result.lawyers_changed) == (0, 0, 0)


def test_a_missing_column_is_an_error_and_leaves_nothing(database_url: str) -> None:
    with kept(database_url) as connection, connection:
        Marketplace(connection, AS_OF).lawyer()
        connection.cursor().execute("ALTER VIEW litgo_source.offers RENAME COLUMN sent_at TO sent")
    with pytest.raises(psycopg2.errors.UndefinedColumn, match="sent_at"), connect(database_url) as connection:
        run_night(connection, NIGHT, AS_OF, RULES)
    with kept(database_url) as connection, connection:
        assert history(connection) == {}


def test_against_a_plain_loop_on_random_data(market: Marketplace) -> None:
    """The statement agrees with the definition evaluated lawyer by lawyer in Python."""
    rng = random.Random(3)
    ids = [market.lawyer() for _ in range(12)]
    contracts: list[tuple] = []
    offers: list[tuple] = []
    for _ in range(120):
        arrived = AS_OF - timedelta(days=rng.uniform(-3, 50))
        case = market.case(created_at=arrived)
        for lawyer in rng.sample(ids, 3):
            status = rng.choice(["interested", "declined", "expired", "pending", "closed"])
            responded = arrived + timedelta(hours=rng.uniform(0, 24)) if status in ("interested", "declined") else None
            market.offer(case, lawyer, status=status, sent_at=arrived, responded_at=responded)
            offers.append((case, lawyer, status, arrived, responded))
        if rng.random() < 0.5:
            lawyer = rng.choice(ids)
            status = rng.choice(["pending-signature", "active", "closed", "canceled"])
            created = arrived + timedelta(days=rng.uniform(0, 4))
            market.contract(case, lawyer, status=status, created_at=created)
            contracts.append((case, lawyer, status, created))
    night(market)
    start = AS_OF - timedelta(days=30)
    taken = {c for c, _, status, created in contracts if status != "canceled" and created < AS_OF}
    for lawyer, (cases, _, last, offered, load) in history(market.connection).items():
        mine = {c for c, who, s, at in contracts if who == lawyer and s != "canceled" and start <= at < AS_OF}
        mine |= {
            c
            for c, who, s, _, at in offers
            if who == lawyer and s == "interested" and at and start <= at < AS_OF and c not in taken
        }
        sent = [at for _, who, _, at, _ in offers if who == lawyer and at < AS_OF]
        assert cases == len(mine)
        assert last == max(sent, default=None)
        assert offered == sum(at >= start for at in sent)
        assert load == pytest.approx(len(mine) / 10)
