"""Statements: the SQL files of this stage with the conditions they share filled in.

Who could be offered a case is written once (`available.sql`); some columns of it are not in every marketplace.
"""

from litgo_pipelines.database import Cursor, sql

PACKAGE = "litgo_pipelines.matching"
_DIGEST = "litgo.case_digest(c.area, c.subarea, c.complexity, c.description, c.coords::text)"
_OPTIONAL = (
    ("status", "coalesce(l.status, 'active') = 'active'"),
    ("is_approved", "coalesce(l.is_approved, true)"),
)


def statement(cursor: Cursor, name: str) -> str:
    """The text of a file, ready for `execute`."""
    text = sql(PACKAGE, name)
    if "{over}" in text:
        text = text.replace("{over}", sql(PACKAGE, "over.sql"))
    if "{available}" in text:
        there = columns(cursor, "lawyers")
        active = [condition for column, condition in _OPTIONAL if column in there]
        available = sql(PACKAGE, "available.sql").replace("{active}", " AND ".join(active) or "true")
        text = text.replace("{available}", available).replace("{open_cases}", sql(PACKAGE, "open_cases.sql"))
    return text.replace("{digest}", _DIGEST)


def columns(cursor: Cursor, table: str) -> set[str]:
    """The columns a table of the marketplace has."""
    cursor.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        (f"public.{table}",),
    )
    return {name for (name,) in cursor.fetchall()}
