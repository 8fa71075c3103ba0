"""The schema contract: what `tables.sql` creates serves, and each way of not serving is named."""

import pytest

from litgo_pipelines.database import connect
from litgo_pipelines.marketplace.checks import LIVE_SCHEMA
from litgo_pipelines.marketplace.schema import TABLES, violations
from litgo_pipelines_tests.support import execute


def live(url: str) -> list[tuple[str, str, str]]:
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(LIVE_SCHEMA, (list(TABLES),))
        return cursor.fetchall()


def test_our_own_tables_serve(database_url: str) -> None:
    assert violations(live(database_url)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("ALTER TABLE offers DROP COLUMN sent_at", "column offers.sent_at (instant) is missing"),
        ("ALTER TABLE lawyers ALTER kpi TYPE text", "column lawyers.kpi is text, expected json (jsonb)"),
        ("ALTER TABLE cases ALTER created_at TYPE timestamp", "column cases.created_at is timestamp, expected instant"),
        ("DROP TABLE reviews", "table reviews is missing"),
    ],
)
def test_each_violation_is_named(database_url: str, change: str, problem: str) -> None:
    execute(database_url, change)
    (found,) = violations(live(database_url))
    assert found.startswith(problem)


@pytest.mark.parametrize(
    "change",
    ["ALTER TABLE lawyers ADD COLUMN extra jsonb", "ALTER TABLE offers ALTER status TYPE varchar(20)",
     "ALTER TABLE offers ALTER raw_score TYPE double precision", "ALTER TABLE lawyers DROP COLUMN status"],
)  # fmt: skip
def test_harmless_differences_are_tolerated(database_url: str, change: str) -> None:
    execute(database_url, change)
    assert violations(live(database_url)) == []
