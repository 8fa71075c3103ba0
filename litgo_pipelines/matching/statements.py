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
    for mark, part in (("{over}", "over.sql"), ("{news}", "news.sql")):
        if mark in text:
            text = text.replace(mark, sql(PACKAGE, part))
    if "{available}" in text:
        there = columns(cursor, "lawyers")
        active = [condition for column, condition in _OPTIONAL if column in there]
        available = sql(PACKAGE, "available.sql").replace("{active}", " AND ".join(active) or "true")
        text = text.replace("{available}", available).replace("{open_cases}", sql(PACKAGE, "open_cases.sql"))
    if "_place}" in text or "{near_by_numbers}" in text:
        text = _with_places(cursor, text)
    return text.replace("{digest}", _DIGEST)


def _with_places(cursor: Cursor, text: str) -> str:
    """Places from the point, else from latitude and longitude where the marketplace has them as numbers."""
    lawyer, case, near = "litgo.placed(l.geo_latlon)", "litgo.placed(c.coords)", ""
    if {"lat", "lng"} <= columns(cursor, "lawyers"):
        numbers = "litgo.placed(point(l.lng::float8, l.lat::float8))"
        near = (
            f"    UNION\n    SELECT l.id FROM region r JOIN lawyers l ON {lawyer} IS NULL AND {numbers} <@ r.box\n"
            "    WHERE litgo.area_keys(l.tags_expertise, l.primary_area) && r.keys\n"
        )
        lawyer = f"coalesce({lawyer}, {numbers})"
    if {"lat", "lng"} <= columns(cursor, "cases"):
        case = f"coalesce({case}, litgo.placed(point(c.lng::float8, c.lat::float8)))"
    return text.replace("{lawyer_place}", lawyer).replace("{case_place}", case).replace("{near_by_numbers}", near)


def columns(cursor: Cursor, table: str) -> set[str]:
    """The columns a table of the marketplace has."""
    cursor.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        (f"public.{table}",),
    )
    return {name for (name,) in cursor.fetchall()}
