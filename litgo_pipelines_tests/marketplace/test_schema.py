"""The schema contract: what `tables.sql` creates serves, and each way of not serving is named."""

import pytest

from litgo_pipelines.database import connect
from litgo_pipelines.marketplace.checks import LIVE_SCHEMA
from litgo_pipelines.marketplace.migrate import MigrationError, migrate
from litgo_pipelines.marketplace.schema import TABLES, violations
from litgo_pipelines_tests.support import execute


def live(url: str) -> list[tuple[str, str, str]]:
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(LIVE_SCHEMA, (list(TABLES),))
        return cursor.fetchall()


def test_our_own_tables_serve(database_url: str) -> None:
    assert violations(live(database_url)) == []


# As before the views were there: they keep others from changing a column they show.
WITHOUT_VIEWS = "DROP SCHEMA litgo_source CASCADE"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("ALTER TABLE offers DROP COLUMN sent_at", "offers.sent_at: public.offers has no column sent_at"),
        ("ALTER TABLE lawyers ALTER kpi TYPE text", "lawyers.kpi: kpi is text, expected json (jsonb)"),
        (
            "ALTER TABLE cases ALTER created_at TYPE timestamp",
            "cases.created_at: created_at is timestamp, expected instant",
        ),
        (
            "CREATE TYPE e AS ENUM ('won'); ALTER TABLE reviews DROP outcome; ALTER TABLE reviews ADD outcome e",
            "reviews.outcome: outcome is the enum e: write {column: …, values: {ours: theirs}}",
        ),
        ("DROP TABLE reviews", "a marketplace without reviews"),
    ],
)
def test_what_does_not_fit_is_named_with_the_line_of_the_mapping(database_url: str, change: str, problem: str) -> None:
    execute(database_url, WITHOUT_VIEWS, change)
    with pytest.raises(MigrationError) as refused:
        migrate(database_url)
    assert problem in str(refused.value)
    assert "LITGO_MARKETPLACE_MAPPING" in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE lawyers ADD COLUMN extra jsonb",
        "ALTER TABLE offers ALTER status TYPE varchar(20)",
        "ALTER TABLE offers ALTER raw_score TYPE double precision",
        "ALTER TABLE lawyers DROP COLUMN status",
        "ALTER TABLE lawyers DROP COLUMN status, DROP COLUMN is_approved",
        "ALTER TABLE contracts DROP COLUMN doc_url",
        "CREATE DOMAIN label AS varchar(80); ALTER TABLE lawyers ALTER name TYPE label",
    ],
)
def test_harmless_differences_are_tolerated(database_url: str, change: str) -> None:
    execute(database_url, WITHOUT_VIEWS, change)
    assert any("views in litgo_source" in line for line in migrate(database_url))
    assert violations(live(database_url)) == []
    assert migrate(database_url) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("DROP TABLE reviews CASCADE", "table reviews is missing"),
        ("DROP VIEW litgo_source.cases", "table cases is missing"),
        ("ALTER VIEW litgo_source.offers RENAME sent_at TO sent", "column offers.sent_at (instant) is missing"),
    ],
)
def test_views_that_were_taken_away_are_named(database_url: str, change: str, problem: str) -> None:
    execute(database_url, change)
    assert violations(live(database_url)) == [problem]
