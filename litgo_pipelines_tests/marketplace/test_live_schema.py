"""The pipelines on the marketplace's own schema."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from litgo_pipelines import definitions
from litgo_pipelines.database import connect, roles
from litgo_pipelines.equity.assets import NIGHTS
from litgo_pipelines.marketplace.migrate import MigrationError, migrate
from litgo_pipelines.matching.waits import record_availability
from litgo_pipelines.simulation.faults import FaultServer, answer, json_answer
from litgo_pipelines_tests.worlds.live_schema import LiveMarketplace, as_role, fill

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def test_without_a_mapping_the_one_that_fits_is_named(live: LiveMarketplace) -> None:
    with pytest.raises(MigrationError, match="LITGO_MARKETPLACE_MAPPING=litgo") as refused:
        migrate(live.url)
    assert "profiles.email: public.profiles has no column email" in str(refused.value)
    assert live.ask("SELECT to_regnamespace('litgo'), to_regnamespace('litgo_source')") == [(None, None)]


def test_the_mapping_is_kept_for_commands_that_name_none(
    live: LiveMarketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITGO_MARKETPLACE_MAPPING", "litgo")
    assert "views in litgo_source made from the mapping litgo" in migrate(live.url)
    monkeypatch.delenv("LITGO_MARKETPLACE_MAPPING")
    assert migrate(live.url) == []


AS_OF = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("profile", "lawyer", "free"),
    [
        ({}, {}, True),
        ({"availability_status": "busy"}, {}, False),
        ({"availability_status": "inactive"}, {}, False),
        ({"availability_status": "vacation"}, {}, False),  # without dates
        ({}, {"is_approved": False}, False),
        ({}, {"is_approved": None}, False),
        ({"vacation_start": AS_OF - DAY, "vacation_end": AS_OF + DAY}, {}, False),
        ({"vacation_start": AS_OF + 0.9 * DAY, "vacation_end": AS_OF + 9 * DAY}, {}, False),  # within an offer's term
        ({"vacation_start": AS_OF + 1.1 * DAY, "vacation_end": AS_OF + 9 * DAY}, {}, True),
        ({"vacation_start": AS_OF - 9 * DAY, "vacation_end": AS_OF}, {}, True),
        ({"vacation_start": AS_OF - 9 * DAY}, {}, False),
        ({"vacation_end": AS_OF + DAY}, {}, False),
        ({"availability_status": "vacation", "vacation_end": AS_OF - DAY}, {}, True),
    ],
)
def test_who_is_away_is_offered_nothing(
    live: LiveMarketplace, monkeypatch: pytest.MonkeyPatch, profile: dict[str, Any], lawyer: dict[str, Any], free: bool
) -> None:
    monkeypatch.setenv("LITGO_MARKETPLACE_MAPPING", "litgo")
    migrate(live.url)
    person = str(uuid.uuid4())
    for table, values in (
        ("profiles", {"id": person, **profile}),
        ("lawyers", {"id": person, "name": "Ana", "is_approved": True, "created_at": AS_OF - 99 * DAY, **lawyer}),
    ):
        places = ", ".join(["%s"] * len(values))
        live.ask(f"INSERT INTO public.{table} ({', '.join(values)}) VALUES ({places})", *values.values())
    with connect(live.url) as connection, connection.cursor() as cursor:
        assert record_availability(cursor, AS_OF) == free


@contextmanager
def services() -> Iterator[dict[str, str]]:
    with (
        FaultServer(json_answer({"id": "b98881cc-1e94-4366-bbd9-db8f3429292b"})) as push,
        FaultServer(answer(b"", 202, X_Message_Id="mail-1")) as mail,
    ):
        yield {
            "ONESIGNAL_BASE_URL": push.url, "ONESIGNAL_APP_ID": "app", "ONESIGNAL_API_KEY": "key",
            "SENDGRID_BASE_URL": mail.url, "SENDGRID_API_KEY": "key", "TEAM_EMAIL": "equipe@example.com",
        }  # fmt: skip


def causes(event: dg.DagsterEvent) -> str:
    """The error of a failed step, with the one that its retries hide."""
    error = event.step_failure_data.error
    assert error is not None
    return (error.cause or error).to_string()


class Jobs:
    """Runs jobs of the code location in this process."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.repository = instance, definitions.build_defs().get_repository_def()

    def run(self, job: str, *only: str, **more: Any) -> None:
        done = self.repository.get_job(job).execute_in_process(
            instance=self.instance, asset_selection=[dg.AssetKey(asset) for asset in only] or None, run_config=QUIET,
            raise_on_error=False, **more,
        )  # fmt: skip
        assert done.success, [causes(event) for event in done.all_events if event.is_step_failure]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_flow(live: LiveMarketplace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from litgo_pipelines.cli.platform import _last_night

    end = _last_night()
    fill(live.superuser, lawyers=150, cases=1200, days=90, end=end)
    monkeypatch.setenv("LITGO_MARKETPLACE_MAPPING", "litgo")
    migrate(live.url)
    roles.apply(live.url)
    pipelines = as_role(live.url, "litgo_pipelines")
    with services() as given, dg.instance_for_test() as instance:
        for name, value in (given | {"LITGO_DATABASE_URL": pipelines, "LITGO_HOME": str(tmp_path)}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        jobs = Jobs(instance)
        nights = NIGHTS.get_partition_keys(end + timedelta(seconds=1))[-30:]
        jobs.run("nightly_equity", tags={
            "dagster/asset_partition_range_start": nights[0], "dagster/asset_partition_range_end": nights[-1],
        })  # fmt: skip
        jobs.run("offer_expiry")
        jobs.run("evidence")
        jobs.run("matching", "triaged_cases", "case_offers")
        jobs.run("notifications")
        jobs.run("contracts")
    found = {
        name: live.ask(query)[0][0]
        for name, query in {
            "nights": "SELECT count(*) FROM litgo.offer_distribution",
            "evidence": "SELECT count(*) FROM litgo.lawyer_evidence WHERE reviews > 0",
            "written back": "SELECT count(*) FROM public.lawyers WHERE equity_updated_at IS NOT NULL",
            "matched": "SELECT count(*) FROM litgo.matchings",
            "offers": "SELECT count(*) FROM public.offers WHERE status = 'pending'",
            "messages": "SELECT count(*) FROM litgo.outbox WHERE status IN ('sent', 'merged')",
        }.items()
    }
    print(found)
    assert all(found.values()), found
