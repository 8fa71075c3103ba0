"""The asset as Dagster runs it, in one process, on a real Postgres."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from litgo_pipelines.intake.assets import assets
from litgo_pipelines.intake.checks import checks
from litgo_pipelines.observability.plots import FEWEST
from litgo_pipelines.resources.openai import OpenAI
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.intake import DISMISSED, add_case
from litgo_pipelines_tests.worlds.processes import Child, stalled_in
from litgo_pipelines_tests.worlds.rows import Marketplace
from litgo_pipelines_tests.worlds.sessions import ask, kept

proof = pytest.mark.proof(
    "litgo_pipelines/intake",
    "litgo_pipelines/database",
    "litgo_pipelines/marketplace",
    "litgo_pipelines/steps.py",
    "litgo_pipelines_tests/worlds",
)

pytestmark = pytest.mark.slow

AS_OF = "2026-03-10T09:00:00-03:00"


def run(url: str, openai: OpenAI | None = None, **config: object) -> dg.ExecuteInProcessResult:
    defs = dg.Definitions(
        assets=assets, asset_checks=checks, resources={"postgres": Postgres(url=url), "openai": openai or OpenAI()}
    )
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        raise_on_error=False, run_config={"ops": {"triaged_cases": {"config": {"as_of": AS_OF, **config}}}}
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for the module: the day's classifier is trained once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("LITGO_HOME", str(home))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_metadata_shows_counts_and_the_queue_but_no_text(database_url: str, capfd: pytest.CaptureFixture) -> None:
    for _ in range(FEWEST):
        add_case(database_url, DISMISSED)
    waiting = add_case(database_url, "segredo 123.456.789-09")
    result = run(database_url)
    assert result.success
    metadata = result.asset_materializations_for_node("triaged_cases")[0].metadata
    assert (metadata["classified"].value, metadata["review"].value) == (FEWEST, 1)
    table = metadata["by area"]
    assert isinstance(table, dg.TableMetadataValue)
    assert ("classified", "Trabalhista", FEWEST) in [tuple(record.data.values()) for record in table.records]
    assert waiting in str(metadata["review queue"].value)
    assert "data:image/png;base64," in str(metadata["confidence"].value)
    printed = "".join(capfd.readouterr())
    assert '"event": "triaged_cases"' in printed
    for output in (printed, str(metadata)):
        assert "123.456" not in output
        assert "demitido" not in output


def _review_queue(done: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (found,) = (one for one in done.get_asset_check_evaluations() if one.check_name == "review_queue_is_worked")
    return found


def test_an_old_case_in_review_warns(database_url: str) -> None:
    add_case(database_url, "oi", created_at=datetime.now(UTC) - timedelta(days=3))
    overdue = run(database_url, as_of=(datetime.now(UTC) - timedelta(days=2)).isoformat())
    check = _review_queue(overdue)
    assert overdue.success
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    execute(database_url, "UPDATE litgo.triage SET as_of = now()")
    assert _review_queue(run(database_url)).passed


def test_an_empty_marketplace_and_a_limit(database_url: str) -> None:
    assert run(database_url).success
    with kept(database_url) as connection, connection:
        market = Marketplace(connection, datetime.fromisoformat(AS_OF))
        for _ in range(3):
            market.case(area=None, description=DISMISSED)
    assert run(database_url, limit=2).success
    assert ask(database_url, "SELECT count(*) FROM litgo.triage") == [(2,)]


@pytest.mark.parametrize("as_of", ["2026-03-10T09:00:00", "yesterday"])
def test_an_instant_must_have_a_zone(database_url: str, as_of: str) -> None:
    assert not run(database_url, as_of=as_of).success


def succeed(url: str) -> None:
    assert run(url).success


@proof
def test_killed_in_the_middle_a_second_run_finishes(database_url: str) -> None:
    """A trigger holds the run inside its third case; there the process is killed."""
    cases = [add_case(database_url, DISMISSED) for _ in range(6)]
    execute(
        database_url,
        "CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF (SELECT count(*) FROM litgo.triage) >= 3 THEN PERFORM pg_sleep(60); END IF; RETURN NEW; END $$",
        "CREATE TRIGGER stall BEFORE UPDATE ON cases FOR EACH ROW EXECUTE FUNCTION stall()",
    )
    child = Child(succeed, database_url)
    found = stalled_in(database_url, child)
    child.kill()
    child.wait()
    execute(database_url, f"SELECT pg_terminate_backend({found})", "DROP TRIGGER stall ON cases")
    assert ask(database_url, "SELECT count(*) FROM litgo.triage") == [(2,)]
    assert run(database_url).success
    assert ask(database_url, "SELECT count(*) FROM litgo.triage WHERE status = 'classified'") == [(len(cases),)]
    counted = "SELECT value FROM litgo.metric_state WHERE name = 'triage_requests_total'"
    assert ask(database_url, counted) == [(len(cases),)]
