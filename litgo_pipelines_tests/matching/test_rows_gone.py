"""More than half of a table gone: nobody counts as no longer there until a person has looked."""

from datetime import timedelta

import dagster as dg
import pytest

from litgo_pipelines.automation import pending_cases_sensor
from litgo_pipelines.definitions import build_defs
from litgo_pipelines.equity import availability
from litgo_pipelines.marketplace import counts
from litgo_pipelines.notifications.outbox import TEAMS
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.worlds.matching import AS_OF, fill, match
from litgo_pipelines_tests.worlds.sessions import ask, kept

pytestmark = pytest.mark.one_server
HOUR = timedelta(hours=1)
MATCHED = (
    "SELECT (SELECT count(*) FROM offers), (SELECT count(*) FROM litgo.matchings), (SELECT count(*) FROM "
    "litgo.case_waits), (SELECT count(*) FROM litgo.matching_batches), (SELECT count(*) FROM litgo.matching_failures), "
    "(SELECT count(*) FROM litgo.lawyer_availability WHERE valid_to IS NULL)"
)
LOSE = {
    "lawyers": "DELETE FROM public.lawyers WHERE id IN (SELECT id FROM lawyers ORDER BY id LIMIT 16)",
    "offers": "DELETE FROM public.offers",
}


def run(url: str, hours: int) -> dict[str, dict[str, object]]:
    """Metadata of each asset, and of each check whether it passed."""
    job = dg.define_asset_job(
        "one",
        dg.AssetSelection.assets("case_offers", "parked_cases") | dg.AssetSelection.checks_for_assets("case_offers"),
    )
    resources = {"postgres": Postgres(url=url), "mlflow": MLflow(tracking_uri="http://127.0.0.1:1")}
    as_of = {"config": {"as_of": (AS_OF + hours * HOUR).isoformat()}}
    result = (
        dg.Definitions.merge(build_defs(**resources), dg.Definitions(jobs=[job]))
        .resolve_job_def("one")
        .execute_in_process(run_config={"ops": {"case_offers": as_of, "parked_cases": as_of}})
    )
    assert result.success
    found: dict[str, dict[str, object]] = {
        asset: {k: v.value for k, v in result.asset_materializations_for_node(asset)[0].metadata.items()}
        for asset in ("case_offers", "parked_cases")
    }
    found["checks"] = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
    return found


def due(url: str, instance: dg.DagsterInstance) -> dict[str, str]:
    context = dg.build_sensor_context(instance, resources={"postgres": Postgres(url=url)})
    requested = pending_cases_sensor.evaluate_tick(context).run_requests or ()
    return {name: value for each in requested for name, value in each.tags.items() if name.startswith("litgo/")}


@pytest.mark.parametrize("table", LOSE)
def test_nothing_follows_from_a_fall_until_a_person_has_looked(
    database_url: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDOUT_PERCENTAGE", "0")
    fill(database_url, cases=12)
    ask(database_url, "UPDATE cases SET status = 'closed' WHERE id IN (SELECT id FROM cases ORDER BY id LIMIT 2)")
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        availability.record(cursor, AS_OF - HOUR)
    match(database_url)
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        counts.keep(cursor, counts.count(cursor), AS_OF)
    ask(database_url, "UPDATE cases SET status = 'pending_assignment' WHERE status = 'closed'")
    ask(database_url, "ALTER TABLE public.offers DISABLE TRIGGER ALL")
    ask(database_url, "SET session_replication_role = replica; " + LOSE[table])
    before = ask(database_url, MATCHED)
    with dg.DagsterInstance.ephemeral() as instance:
        assert due(database_url, instance) == {"litgo/gone": "1", "litgo/untriaged": "12"}
        found = run(database_url, 1)
        assert due(database_url, instance) == {"litgo/untriaged": "12"}
    assert ask(database_url, MATCHED) == before
    assert found["checks"]["rows_are_there"] is False
    assert f"{table} has" in str(found["parked_cases"]["stopped"])
    run(database_url, 2)
    told = ask(
        database_url, "SELECT recipient_id::text, payload ->> 'table' FROM litgo.outbox WHERE kind = 'rows_gone'"
    )
    assert told == [(TEAMS[Owner.MARKETPLACE], table)]
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        counts.accept(cursor, AS_OF + HOUR)
    found = run(database_url, 3)
    assert found["checks"]["rows_are_there"] is True
    # the two that came since; where offers are gone for good, their cases are offered again
    assert found["case_offers"]["cases matched"] == (12 if table == "offers" else 2)


@pytest.mark.parametrize(("before", "gone"), [(59, []), (60, []), (61, [("lawyers", 30)]), (62, [("lawyers", 30)])])
def test_more_than_half_of_the_rows(database_url: str, before: int, gone: list[tuple[str, int]]) -> None:
    fill(database_url, lawyers=30, cases=1)
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        counts.keep(cursor, {"lawyers": before, "cases": 1}, AS_OF)
        assert [(each.table, each.rows) for each in counts.gone(cursor)] == gone
