"""The asset as Dagster runs it, with its check, and what can go wrong in the middle."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from litgo_pipelines.evidence import refresh
from litgo_pipelines.evidence.assets import lawyer_evidence
from litgo_pipelines.evidence.checks import checks
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.processes import Child, retry_at_once, stalled_in
from litgo_pipelines_tests.worlds.rows import Marketplace
from litgo_pipelines_tests.worlds.sessions import kept

proof = pytest.mark.proof(
    "litgo_pipelines/evidence",
    "litgo_pipelines/database",
    "litgo_pipelines/marketplace",
    "litgo_pipelines/steps.py",
    "litgo_pipelines_tests/worlds",
)

pytestmark = pytest.mark.slow

AS_OF = datetime(2026, 3, 10, 5, tzinfo=UTC)
TABLES = ("lawyer_evidence", "lawyer_subarea_evidence", "review_sentiment", "evidence_refresh")


@pytest.fixture
def filled_url(database_url: str) -> str:
    with kept(database_url) as connection, connection:
        market = Marketplace(connection, AS_OF)
        curriculum = {"anos_experiencia": 4}
        lawyers = [market.lawyer(curriculo_json=curriculum if n % 2 else None) for n in range(20)]
        for number in range(30):
            contract = market.contract(market.case(subarea="Contratos"), lawyers[number % 15], status="closed")
            market.review(contract, lawyers[number % 15], comment="Muito bom" if number % 3 else None)
    return database_url


def run(url: str, as_of: str | None = AS_OF.isoformat()) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [lawyer_evidence, *checks],
        resources={"postgres": Postgres(url=url)},
        run_config={"ops": {"lawyer_evidence": {"config": {"as_of": as_of}}}} if as_of else None,
        raise_on_error=False,
    )


def stored(url: str) -> list[list[tuple]]:
    with kept(url) as connection, connection, connection.cursor() as cursor:
        found = []
        for table in TABLES:
            cursor.execute(f"SELECT * FROM litgo.{table} ORDER BY 1, 2")
            found.append(cursor.fetchall())
        return found


def check_of(result: dg.ExecuteInProcessResult) -> Any:
    return next(c for c in result.get_asset_check_evaluations() if c.check_name == "every_lawyer_has_evidence")


def test_a_run_reports_coverage_and_is_checked(filled_url: str) -> None:
    result = run(filled_url)
    assert result.success
    metadata = result.asset_materializations_for_node("lawyer_evidence")[0].metadata
    assert metadata["as_of"].value == AS_OF.isoformat()
    assert (metadata["lawyers"].value, metadata["comments_scored"].value) == (20, 20)
    table = metadata["evidence"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [tuple(record.data.values()) for record in table.records] == [
        ("T", "success rate", 15, 5, 0.75),
        ("Q", "curriculum", 10, 10, 0.5),
        ("U", "response time", 0, 20, 0.0),
        ("R", "reviews", 15, 5, 0.75),
        ("C", "soft skills", 10, 10, 0.5),
    ]
    assert "data:image/png;base64," in str(metadata["coverage"].value)
    assert check_of(result).passed
    assert check_of(result).metadata["lawyers"].value == 20


def test_a_second_run_changes_nothing_and_a_run_without_an_instant_is_as_of_now(filled_url: str) -> None:
    run(filled_url)
    before = stored(filled_url)
    again = run(filled_url)
    assert stored(filled_url) == before
    metadata = again.asset_materializations_for_node("lawyer_evidence")[0].metadata
    assert (metadata["lawyers_changed"].value, metadata["subareas_changed"].value) == (0, 0)
    now = run(filled_url, None).asset_materializations_for_node("lawyer_evidence")[0].metadata["as_of"].value
    assert abs(datetime.fromisoformat(str(now)) - datetime.now(UTC)) < timedelta(minutes=2)


@pytest.mark.parametrize("as_of", ["2026-03-10T02:00:00", "ontem"])
def test_an_instant_without_offset_is_refused(filled_url: str, as_of: str) -> None:
    result = run(filled_url, as_of)
    assert not result.success
    assert not [e for e in result.all_events if e.event_type_value == "STEP_UP_FOR_RETRY"]
    assert stored(filled_url) == [[], [], [], []]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("DELETE FROM litgo.lawyer_evidence WHERE lawyer_id IN (SELECT id FROM lawyers LIMIT 2)", (2, 0)),
        ("UPDATE litgo.lawyer_evidence SET softskill = 1.5 WHERE reviews > 0", (0, 15)),
        ("UPDATE litgo.lawyer_evidence SET won = concluded + 1", (0, 20)),
        ("UPDATE litgo.lawyer_evidence SET concluded = 'NaN', won = 'NaN'", (0, 20)),
        ("UPDATE litgo.lawyer_evidence SET stars = 7 WHERE reviews > 0", (0, 15)),
        ("UPDATE litgo.lawyer_evidence SET stars = NULL WHERE reviews > 0", (0, 15)),
        ("UPDATE litgo.lawyer_evidence SET response_h = -1", (0, 20)),
        ("UPDATE litgo.lawyer_evidence SET years = 'Infinity'", (0, 20)),
        ("UPDATE litgo.lawyer_evidence SET degrees = '{\"Civil\": 4}'", (0, 20)),
        ("UPDATE litgo.lawyer_subarea_evidence SET won = -1", (0, 15)),
    ],
)
def test_the_check_finds_bad_values(filled_url: str, damage: str, found: tuple[int, int]) -> None:
    run(filled_url)
    execute(filled_url, damage)
    check = checks[0]
    result = check(Postgres(url=filled_url))
    assert isinstance(result, dg.AssetCheckResult)
    assert not result.passed
    assert (result.metadata["missing"].value, result.metadata["out of range"].value) == found


def test_the_check_is_blocking_and_fails_before_the_first_refresh(database_url: str) -> None:
    check = checks[0]
    assert [spec.blocking for spec in check.check_specs] == [True]
    result = check(Postgres(url=database_url))
    assert isinstance(result, dg.AssetCheckResult)
    assert not result.passed


def test_empty_marketplace(database_url: str) -> None:
    result = run(database_url)
    assert result.success
    assert check_of(result).passed


def test_two_runs_at_once_give_the_rows_of_one(filled_url: str) -> None:
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(run(filled_url).success)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True, True]
    both = stored(filled_url)
    execute(filled_url, *(f"TRUNCATE litgo.{table}" for table in TABLES))
    run(filled_url)
    assert stored(filled_url) == both


def succeed(url: str) -> None:
    retry_at_once()
    refresh.BATCH = 5
    assert run(url).success


@proof
@pytest.mark.parametrize("victim", ["process", "connection"])
@pytest.mark.parametrize("table", ["review_sentiment", "lawyer_evidence", "lawyer_subarea_evidence"])
def test_killed_in_the_middle_nothing_is_half_written(
    filled_url: str, table: str, victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trigger holds the run at the twelfth row of a table; there the process or its connection is killed."""
    execute(
        filled_url,
        "CREATE SEQUENCE written",
        "CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF nextval('public.written') = 12 THEN PERFORM pg_sleep(60); END IF; RETURN NEW; END $$",
        f"CREATE TRIGGER stall BEFORE INSERT ON litgo.{table} FOR EACH ROW EXECUTE FUNCTION stall()",
    )
    child = Child(succeed, filled_url)
    found = stalled_in(filled_url, child)
    if victim == "process":
        child.kill()
        child.wait()
    execute(filled_url, f"SELECT pg_terminate_backend({found})", f"DROP TRIGGER stall ON litgo.{table}")
    if victim == "process":
        lawyers, subareas, scores, refreshes = stored(filled_url)
        assert (lawyers, subareas, refreshes) == ([], [], [])
        assert len(scores) == (10 if table == "review_sentiment" else 20)  # whole batches of five
        assert run(filled_url).success
    else:
        assert child.wait() == 0  # the step was tried again
    whole = stored(filled_url)
    assert [len(rows) for rows in whole] == [20, 15, 20, 1]
    execute(filled_url, *(f"TRUNCATE litgo.{table}" for table in TABLES))
    monkeypatch.setattr(refresh, "BATCH", 7)
    run(filled_url)
    assert stored(filled_url) == whole


def _rows(url: str, query: str) -> list[tuple]:
    with kept(url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()
