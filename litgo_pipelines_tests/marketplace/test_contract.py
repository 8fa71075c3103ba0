"""The contract check beyond columns: rights, rows that are hidden, rows that are gone."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from litgo_pipelines.database import connect, roles
from litgo_pipelines.marketplace import counts
from litgo_pipelines.marketplace.checks import contract_results
from litgo_pipelines.marketplace.counts import Count, fall
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.marketplace.schema import TABLES
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.jobs import Jobs, nights
from litgo_pipelines_tests.worlds.live_schema import LiveMarketplace, as_role

AT = datetime(2026, 6, 1, tzinfo=UTC)
NIGHT = timedelta(days=1)


@pytest.mark.parametrize(
    ("rows", "good", "falls"),
    [
        (0, None, False),
        (0, 19, False),
        (9, 20, True),
        (10, 20, False),
        (0, 20, True),
        (50, 100, False),
        (49, 100, True),
        (1_000_000, 3, False),
    ],
)
def test_more_than_half_gone_is_a_fall(rows: int, good: int | None, falls: bool) -> None:
    said = fall("offers", rows, None if good is None else Count(good, AT))
    assert (said is not None) == falls
    assert said is None or "litgo doctor --accept-counts" in said


def test_counts_of_one_night_stay_so_that_no_fall_goes_by_in_small_steps(database_url: str) -> None:
    def kept() -> int:
        return counts.last_good(cursor)["offers"].rows

    with connect(database_url) as connection, connection.cursor() as cursor:
        counts.keep(cursor, {"offers": 100}, AT)
        counts.keep(cursor, {"offers": 60}, AT + timedelta(hours=1))
        assert kept() == 100
        counts.keep(cursor, {"offers": 130}, AT + timedelta(hours=2))
        assert kept() == 130
        counts.keep(cursor, {"offers": 70}, AT + NIGHT)
        assert kept() == 70
        assert counts.accept(cursor, AT + NIGHT)["offers"] == 0
        assert kept() == 0


def failed(url: str) -> dict[str, str]:
    """Table → what the contract check says of it."""
    results = {
        str(result.asset_key and result.asset_key.to_user_string()): result
        for result in contract_results(Postgres(url=url))
    }
    assert set(results) == set(TABLES)
    return {table: str(result.description) for table, result in results.items() if not result.passed}


@pytest.fixture
def live(live_filled: Callable[..., LiveMarketplace]) -> LiveMarketplace:
    return live_filled(lawyers=40, cases=150, days=40, end=AT)


@pytest.fixture
def pipelines(live: LiveMarketplace, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LITGO_MARKETPLACE_MAPPING", "litgo")
    migrate(live.url)
    roles.apply(live.url)
    return as_role(live.url, "litgo_pipelines")


def test_what_the_pipelines_may_not_see_or_write_is_said(live: LiveMarketplace, pipelines: str) -> None:
    assert failed(pipelines) == {}
    execute(
        live.superuser,
        "REVOKE UPDATE (area), SELECT (title) ON litgo_source.cases FROM litgo_pipelines",
        "REVOKE ALL ON litgo_source.cases FROM litgo_pipelines",
    )
    said = failed(pipelines)
    assert set(said) == {"cases"}
    assert "litgo_pipelines may not UPDATE area, complexity, subarea, urgency_h" in said["cases"]
    assert "is missing" not in said["cases"]
    roles.apply(live.url)
    execute(live.superuser, "ALTER TABLE public.reviews FORCE ROW LEVEL SECURITY")
    said = failed(pipelines)
    assert set(said) == {"reviews"}
    assert "row security of public.reviews applies to live_owner" in said["reviews"]
    execute(live.superuser, "CREATE POLICY everything ON public.reviews USING (true)")
    assert failed(pipelines) == {}
    ring = "EXISTS (SELECT FROM public.reviews other WHERE other.rating > 3)"
    execute(live.superuser, f"CREATE POLICY ring ON public.reviews USING ({ring})")
    assert "let it ask a SECURITY DEFINER function" in failed(pipelines)["reviews"]
    execute(live.superuser, "DROP POLICY ring ON public.reviews")
    execute(live.superuser, "ALTER TABLE litgo.outbox ENABLE ROW LEVEL SECURITY")
    said = failed(pipelines)
    assert set(said) == set(TABLES)
    assert "run `litgo migrate` as their owner" in said["offers"]
    migrate(live.url)
    assert failed(pipelines) == {}
    execute(live.superuser, "CREATE POLICY less ON public.reviews AS RESTRICTIVE USING (rating > 3)")
    assert set(failed(pipelines)) == {"reviews"}
    execute(live.superuser, "DROP POLICY less ON public.reviews")


def test_a_policy_under_which_writes_change_nothing_is_said(live: LiveMarketplace, pipelines: str) -> None:
    execute(
        live.superuser,
        "ALTER TABLE public.offers ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE public.offers FORCE ROW LEVEL SECURITY",
        "CREATE POLICY seen ON public.offers FOR SELECT USING (true)",
    )
    assert "no policy lets it INSERT every row" in failed(pipelines)["offers"]
    execute(live.superuser, "CREATE POLICY made ON public.offers FOR INSERT WITH CHECK (true)")
    assert "no policy lets it UPDATE every row" in failed(pipelines)["offers"]
    execute(live.superuser, "CREATE POLICY own ON public.offers FOR UPDATE USING (status = 'pending')")
    assert "no policy lets it UPDATE every row" in failed(pipelines)["offers"]
    execute(live.superuser, "CREATE POLICY changed ON public.offers FOR UPDATE USING (true)")
    assert failed(pipelines) == {}


def hide(live: LiveMarketplace) -> None:
    execute(live.superuser, "DELETE FROM public.offers WHERE status <> 'pending'")


def delete_lawyers(live: LiveMarketplace) -> None:
    execute(
        live.superuser,
        "SET session_replication_role = replica; "
        "DELETE FROM public.lawyers WHERE id IN (SELECT id FROM public.lawyers ORDER BY id LIMIT 30)",
    )


@pytest.mark.slow
@pytest.mark.one_server  # runs of Dagster
@pytest.mark.parametrize(("lose", "table"), [(hide, "offers"), (delete_lawyers, "lawyers")])
def test_a_night_after_a_fall_computes_and_deletes_nothing_until_a_person_has_looked(
    live: LiveMarketplace,
    pipelines: str,
    monkeypatch: pytest.MonkeyPatch,
    lose: Callable[[LiveMarketplace], None],
    table: str,
) -> None:
    monkeypatch.setenv("LITGO_DATABASE_URL", pipelines)
    seen = "SELECT count(*), md5(string_agg(h::text, '' ORDER BY night, lawyer_id)) FROM litgo.equity_history h"

    def night(instance: dg.DagsterInstance) -> Any:
        Jobs(instance).run("nightly_equity", partition_key=nights(1)[0])

    with dg.DagsterInstance.ephemeral() as instance:
        night(instance)
        before = live.ask(seen)
        lose(live)
        assert set(failed(pipelines)) == {table}
        with pytest.raises(AssertionError):
            night(instance)
        assert live.ask(seen) == before
        with connect(pipelines) as connection, connection.cursor() as cursor:
            counts.accept(cursor, datetime.now(UTC))
        night(instance)
        assert live.ask(seen) != before
