"""The nightly job as Dagster runs it: backfill as one run, blocking contract, and what can go wrong in the middle."""

import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import cast

import dagster as dg
import pytest

from litgo_pipelines.database import DatabaseUnavailable
from litgo_pipelines.definitions import build_defs
from litgo_pipelines.equity import assets as equity_assets
from litgo_pipelines.equity import checks as equity_checks
from litgo_pipelines.equity.assets import NIGHTS
from litgo_pipelines.marketplace import assets as marketplace_assets
from litgo_pipelines.marketplace import checks as marketplace_checks
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.processes import Child, retry_at_once, stalled_in
from litgo_pipelines_tests.worlds.rows import Marketplace
from litgo_pipelines_tests.worlds.sessions import ask, kept

proof = pytest.mark.proof(
    "litgo_pipelines/equity",
    "litgo_pipelines/database",
    "litgo_pipelines/marketplace",
    "litgo_pipelines/steps.py",
    "litgo_pipelines_tests/worlds",
)

pytestmark = pytest.mark.slow

KEYS = NIGHTS.get_partition_keys()[:3]
END = NIGHTS.time_window_for_partition_key(KEYS[-1]).end


@pytest.fixture
def filled_url(database_url: str) -> str:
    with kept(database_url) as connection, connection:
        market = Marketplace(connection, END)
        lawyers = [market.lawyer() for _ in range(25)]
        for number in range(30):
            case = market.case(created_at=END - timedelta(days=number % 12, hours=1))
            for lawyer in lawyers[number % 20 : number % 20 + 5]:
                market.offer(case, lawyer, sent_at=END - timedelta(days=number % 12))
            market.contract(case, lawyers[number % 25], created_at=END - timedelta(days=number % 12))
    return database_url


def run(url: str, first: str = KEYS[0], last: str = KEYS[-1], **config) -> dg.ExecuteInProcessResult:
    job = build_defs(postgres=Postgres(url=url)).resolve_job_def("nightly_equity")
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return job.execute_in_process(tags=tags, raise_on_error=False, run_config=config)


HISTORY = (
    "SELECT night, lawyer_id, as_of, cases_30d, capacidade_mensal, last_offered_at, offers_30d "
    "FROM litgo.equity_history ORDER BY 1, 2"
)


DISTRIBUTION = "SELECT * FROM litgo.offer_distribution ORDER BY night"


def test_a_backfill_is_one_run_with_plots_checks_and_json_lines(filled_url: str, capfd: pytest.CaptureFixture) -> None:
    result = run(filled_url)
    assert result.success
    assert len(ask(filled_url, HISTORY)) == 25 * 3
    load = result.asset_materializations_for_node("lawyer_load")
    assert {m.partition for m in load} == set(KEYS)
    assert {m.partition: m.metadata["lawyers_changed"].value for m in load} == dict(zip(KEYS, (0, 0, 25), strict=True))
    metadata = load[0].metadata
    assert metadata["rows_read"].value == 25
    assert "data:image/png;base64," in str(metadata["load histogram"].value)
    spread = result.asset_materializations_for_node("offer_distribution")[0].metadata
    for plot in ("Gini, last 30 nights", "load histogram"):
        assert "data:image/png;base64," in str(spread[plot].value)
    assert "Civil · SP" in str(spread["largest pools"].value)
    lineage = cast(dg.TableColumnLineage, metadata["dagster/column_lineage"].value)
    assert {dep.asset_key.path[-1] for dep in lineage.deps_by_column["load"]} == {"contracts", "offers", "lawyers"}
    assert "gini" in cast(dg.TableColumnLineage, spread["dagster/column_lineage"].value).deps_by_column
    evaluations = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert {"schema_contract", "every_lawyer_has_a_load", "gini_below_target", "coverage_above_target"} <= set(
        evaluations
    )
    assert evaluations["coverage_above_target"].passed
    printed = capfd.readouterr().err.splitlines()
    lines = [json.loads(line[line.index("{") :]) for line in printed if '"event": "lawyer_load"' in line]
    assert [line["partition"] for line in lines] == sorted(KEYS, reverse=True)
    assert {"run_id", "rows_read", "rows_changed", "seconds"} <= set(lines[0])


def test_a_second_run_changes_nothing(filled_url: str) -> None:
    run(filled_url)
    before = ask(filled_url, HISTORY), ask(filled_url, DISTRIBUTION)
    again = run(filled_url)
    assert (ask(filled_url, HISTORY), ask(filled_url, DISTRIBUTION)) == before
    assert again.asset_materializations_for_node("lawyer_load")[0].metadata["rows_changed"].value == 0


def test_a_broken_contract_stops_the_run_before_it_computes(filled_url: str) -> None:
    execute(filled_url, "ALTER VIEW litgo_source.contracts RENAME COLUMN created_at TO made_at")
    result = run(filled_url)
    assert not result.success
    assert ask(filled_url, HISTORY) == []
    failed = [e for e in result.get_asset_check_evaluations() if not e.passed]
    assert [e.asset_key.to_user_string() for e in failed] == ["contracts"]
    assert "contracts.created_at (instant) is missing" in str(failed[0].description)


def test_empty_marketplace(database_url: str) -> None:
    result = run(database_url)
    assert result.success
    assert ask(database_url, "SELECT lawyers, gini, coverage FROM litgo.offer_distribution") == [(0, None, None)] * 3


@pytest.mark.parametrize(
    ("asset", "check"), [("offer_distribution", "gini_below_target"), ("offers", "schema_contract")]
)
def test_one_of_several_checks_is_executed_alone(database_url: str, asset: str, check: str) -> None:
    """Before any night, too."""
    done = dg.materialize(
        [*marketplace_assets.assets, *equity_assets.assets, *marketplace_checks.checks, *equity_checks.checks],
        selection=dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey(asset), check)),
        resources={"postgres": Postgres(url=database_url)},
    )
    assert [(e.check_name, e.passed) for e in done.get_asset_check_evaluations()] == [(check, True)]


def test_a_wrong_rule_is_refused_by_name(filled_url: str) -> None:
    result = run(filled_url, ops={"lawyer_load": {"config": {"capacity_rules": {"base": -2}}}})
    assert not result.success
    failure = next(e for e in result.all_events if e.event_type_value == "STEP_FAILURE")
    assert "capacity rule 'base'" in str(failure.event_specific_data)
    assert ask(filled_url, HISTORY) == []


def test_two_runs_at_once_give_the_rows_of_one(filled_url: str) -> None:
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(run(filled_url).success)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True, True]
    both = ask(filled_url, HISTORY)
    execute(filled_url, "TRUNCATE litgo.equity_history")
    run(filled_url)
    assert ask(filled_url, HISTORY) == both


def test_no_database_at_the_start_is_a_clear_error() -> None:
    result = run("postgresql://nobody@127.0.0.1:1/none")
    assert not result.success
    failures = [str(e.event_specific_data) for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
    assert any(DatabaseUnavailable.__name__ in f and "litgo up" in f for f in failures)


def succeed(url: str) -> None:
    retry_at_once()
    assert run(url).success


@proof
@pytest.mark.parametrize("victim", ["process", "connection"])
@pytest.mark.parametrize("table", ["equity_history", "offer_distribution"])
def test_killed_in_the_middle_nothing_is_half_written(filled_url: str, table: str, victim: str) -> None:
    """A trigger holds an asset inside the second night's statement; there the process or its connection is killed."""
    execute(
        filled_url,
        "CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF NEW.night = '{KEYS[1]}' THEN PERFORM pg_sleep(60); END IF; RETURN NEW; END $$",
        f"CREATE TRIGGER stall BEFORE INSERT ON litgo.{table} FOR EACH ROW EXECUTE FUNCTION stall()",
    )
    child = Child(succeed, filled_url)
    found = stalled_in(filled_url, child)
    if victim == "process":
        child.kill()
        child.wait()
    execute(filled_url, f"SELECT pg_terminate_backend({found})", f"DROP TRIGGER stall ON litgo.{table}")
    written = {night.isoformat() for (night,) in ask(filled_url, f"SELECT DISTINCT night FROM litgo.{table}")}
    if victim == "process":
        assert written == {KEYS[2]}
        assert run(filled_url).success
    else:
        assert child.wait() == 0  # the step was tried again
    assert len(ask(filled_url, HISTORY)) == 25 * 3
    stored = ask(filled_url, HISTORY), ask(filled_url, DISTRIBUTION)
    assert len(stored[1]) == 3
    execute(filled_url, "TRUNCATE litgo.equity_history, litgo.offer_distribution")
    run(filled_url)
    assert (ask(filled_url, HISTORY), ask(filled_url, DISTRIBUTION)) == stored
    assert ask(filled_url, "SELECT DISTINCT equity_updated_at FROM lawyers") == [(END,)]


def test_as_of_is_the_end_of_the_partition() -> None:
    assert datetime.fromisoformat(f"{KEYS[-1]}T05:00:00+00:00") + timedelta(days=1) == END
    assert END.astimezone(UTC).hour == 5
    ((key, night, as_of),) = equity_assets.nights(KEYS[-1:])
    assert (key, night.isoformat(), as_of) == (KEYS[-1], KEYS[-1], END)
    assert as_of.tzinfo is UTC  # 30 days before it are 720 hours, whatever the clocks did


# The night's last instant where the clocks went back on 18 February (23:00 came twice) and forward on 4 November 2018
# (there was no midnight).
ENDS = {
    "2018-02-16": datetime(2018, 2, 17, 4, tzinfo=UTC),
    "2018-02-17": datetime(2018, 2, 18, 5, tzinfo=UTC),
    "2018-02-18": datetime(2018, 2, 19, 5, tzinfo=UTC),
    "2018-11-02": datetime(2018, 11, 3, 5, tzinfo=UTC),
    "2018-11-03": datetime(2018, 11, 4, 4, tzinfo=UTC),
    "2018-11-04": datetime(2018, 11, 5, 4, tzinfo=UTC),
}
BACKFILLS = """
import sys
from litgo_pipelines.definitions import build_defs
from litgo_pipelines.resources.postgres import Postgres
job = build_defs(postgres=Postgres(url=sys.argv[1])).resolve_job_def("nightly_equity")
for first, last in zip(sys.argv[2::2], sys.argv[3::2]):
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    assert job.execute_in_process(tags=tags).success
"""


@proof
def test_a_backfill_over_nights_of_23_and_25_hours_counts_each_offer_of_720_hours(database_url: str) -> None:
    month, second = timedelta(hours=720), timedelta(seconds=1)
    with kept(database_url) as connection, connection:
        market = Marketplace(connection, ENDS["2018-02-16"])
        lawyers = {key: market.lawyer(created_at=datetime(2017, 1, 1, tzinfo=UTC)) for key in ENDS}
        for key, end in ENDS.items():
            for at in (end - month - second, end - month + second, end - second, end + second):
                market.offer(market.case(created_at=at), lawyers[key], sent_at=at)
    command = [sys.executable, "-c", BACKFILLS, database_url, "2018-02-16", "2018-02-18", "2018-11-02", "2018-11-04"]
    environment = {**os.environ, "EQUITY_FIRST_NIGHT": "2018-01-01"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = ask(database_url, "SELECT night::text, lawyer_id::text, as_of, offers_30d FROM litgo.equity_history")
    assert {(night, as_of) for night, _, as_of, _ in found} == set(ENDS.items())
    assert {night: offers for night, lawyer, _, offers in found if lawyers[night] == lawyer} == dict.fromkeys(ENDS, 2)
