from datetime import UTC, datetime, timedelta

from litgo_pipelines.jobs import JOBS
from litgo_pipelines.retention import rows
from litgo_pipelines.retention.policy import FREQUENT, OF_TABLES, POLICY, cutoffs, removable
from litgo_pipelines.tools.retention_page import PAGE, page
from litgo_pipelines_tests.worlds.sessions import kept

AT = datetime(2026, 6, 1, tzinfo=UTC)


def test_only_what_is_old_and_not_needed_goes() -> None:
    old, young = AT - timedelta(days=2), AT + timedelta(days=2)
    found = [("b", old), ("a", old), ("needed", old), ("young", young)]
    assert removable(found, {"needed", "elsewhere"}, AT) == ["a", "b"]
    assert removable([], set(), AT) == []


def test_each_kind_has_its_term() -> None:
    found = cutoffs(AT, {"frequent": 14, "usual": 90, "long": 400})
    assert set(found) == set(POLICY)
    assert found["runs_frequent"] == AT - timedelta(days=14)
    assert found["messages"] == AT - timedelta(days=90)
    assert found["explanations"] == AT - timedelta(days=400)
    assert set(rows.STATEMENTS) < set(POLICY)
    assert set(JOBS) >= FREQUENT


def test_every_table_has_a_term_or_a_reason(database_url: str) -> None:
    """A table that a migration adds needs its line in `OF_TABLES`."""
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'litgo'::regnamespace AND relkind IN ('r', 'p')"
        )
        assert {table for (table,) in cursor.fetchall()} == set(OF_TABLES)
    kinds = {of for of in OF_TABLES.values() if " " not in of}
    assert kinds <= set(POLICY)
    assert set(rows.STATEMENTS) - {"messages_dead"} <= kinds


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m litgo_pipelines.tools.retention_page"
