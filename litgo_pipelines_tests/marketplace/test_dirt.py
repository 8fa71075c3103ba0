"""Values that mean nothing, one in each typed column of every table: no stage stops, no sound row's result changes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from litgo_pipelines.database import connect
from litgo_pipelines.intake.classifier import Model
from litgo_pipelines.marketplace.schema import TABLES
from litgo_pipelines_tests.worlds.dirt import DIRT, add_dirt, fill, loose_url, loosen, stages
from litgo_pipelines_tests.worlds.intake import model
from litgo_pipelines_tests.worlds.matching import another_url
from litgo_pipelines_tests.worlds.notifications import environment
from litgo_pipelines_tests.worlds.sessions import ask

__all__ = ["another_url", "environment", "loose_url", "model"]

pytestmark = pytest.mark.one_server


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_dirty_row_is_nobody_elses_trouble(
    loose_url: str, another_url: Callable[[], str], model: Model, tmp_path: Path
) -> None:
    clean = stages(loose_url, model, tmp_path)
    assert all(
        clean[stage] for stage in ("nights", "evidence", "triage", "offers", "contracts", "snapshot", "messages")
    )
    url = another_url()
    loosen(url)
    fill(url)
    added = add_dirt(url)
    assert len(added) > 300
    dirty = stages(url, model, tmp_path)
    for stage, rows in clean.items():
        assert dirty[stage] == rows, stage
    parked = ask(
        url,
        "SELECT c.created_at FROM litgo.matching_failures f JOIN public.cases c ON c.id = f.case_id "
        "WHERE f.reason LIKE 'created_at%' AND f.dead",
    )
    assert len(parked) == len(DIRT["cases"]["created_at"])


def test_every_kind_is_listed_by_column(loose_url: str) -> None:
    assert ask(loose_url, "SELECT * FROM litgo_source.unusable") == []
    added = set(add_dirt(loose_url))
    listed = {
        (table, column): (found, one)
        for table, column, found, one in ask(
            loose_url, "SELECT table_name, column_name, found, example FROM litgo_source.unusable"
        )
    }
    open_values = {
        ("lawyers", "is_available"),
        ("cases", "title"),
        ("cases", "description"),
        ("contracts", "doc_url"),
        ("reviews", "comment"),
    }
    assert set(listed) <= added
    assert added - set(listed) - open_values == set()
    for (table, _), (found, one) in listed.items():
        assert found > 0
        assert (":" in one) == (table == "case_matches"), "an id, and nothing of the row"


def test_a_source_view_has_every_column_and_its_indexes(database_url: str) -> None:
    """Cleaning hides no column, and what is found by an index still is."""
    for table, columns in TABLES.items():
        found = ask(
            database_url,
            "SELECT column_name FROM information_schema.columns WHERE table_schema = "
            "'litgo_source' AND table_name = %s",
            (table,),
        )
        assert {name for (name,) in found} == set(columns)
    with connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for query, index in (
            (
                "SELECT id FROM cases WHERE status = 'pending_assignment' AND created_at <= now() ORDER BY created_at, "
                "id LIMIT 5",
                "litgo_cases_pending",
            ),
            (
                "SELECT id FROM offers WHERE status = 'pending' AND expires_at BETWEEN '1900-01-01' AND now()",
                "litgo_offers_pending",
            ),
            ("SELECT count(*) FROM offers WHERE sent_at > now() - interval '1 day'", "litgo_offers_sent"),
            (
                "SELECT id FROM lawyers WHERE litgo.area_keys(tags_expertise, primary_area) && ARRAY['civil']",
                "litgo_lawyers_area_keys",
            ),
            ("SELECT id FROM lawyers WHERE litgo.placed(geo_latlon) <@ box '(1,1),(2,2)'", "litgo_lawyers_placed"),
        ):
            cursor.execute(f"EXPLAIN {query}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert index in plan, plan
            assert "Subquery Scan" not in plan
