"""Usable values: what a column's value must be to count, and the view that lists those that do not. Pure.

The source views show values as they are, so that indexes are used and columns stay writable. Where a value enters
arithmetic or leaves the database, statements ask one function per family of types: `litgo.instant`, `joined`, `day`,
`number`, `limit_of`, `list`, `placed` (migration 0027). The view made here lists what those take for absent.
"""

import re
from collections.abc import Iterable, Mapping

from litgo_pipelines.marketplace.schema import SOURCE_SCHEMA, TABLES, VALUES

UNUSABLE = f"{SOURCE_SCHEMA}.unusable"

# (first, last) of numbers that mean something; both ends count.
RANGES = {
    "lawyers.lat": (-90, 90),
    "lawyers.lng": (-180, 180),
    "lawyers.kpi_softskill": (0, 1),
    "lawyers.max_concurrent_cases": (1, 1_000_000),
    "lawyers.cases_30d": (0, 99_999),
    "lawyers.capacidade_mensal": (1, 99_999),
    "cases.urgency_h": (0.001, 8_760),
    "cases.lat": (-90, 90),
    "cases.lng": (-180, 180),
    "reviews.rating": (1, 5),
}
WHOLE = {"lawyers.max_concurrent_cases", "lawyers.cases_30d", "lawyers.capacidade_mensal"}
FREE_TEXT = {"cases.title", "cases.description", "reviews.comment", "contracts.doc_url"}  # may well be empty
PUSH_TOKEN = "profiles.push_token"
# What texts of somebody else's must look like: OneSignal takes no token but its own, and those of Expo, Firebase and
# Apple are no UUID.
SHAPES = {PUSH_TOKEN: "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"}
_PAIR = {"lat", "lng"}
# An instant that may be open at either end: «on leave until further notice».
OPEN_ENDED = {"lawyers.leave_from", "lawyers.leave_until"}
NEEDED = {
    *(f"{table}.id" for table, columns in TABLES.items() if "id" in columns),  # without one a row is not there
    "case_matches.case_id",
    "case_matches.lawyer_id",
    "cases.created_at",
    "cases.client_id",
    "contracts.created_at",
    "contracts.case_id",
    "contracts.lawyer_id",
    "contracts.client_id",
    "offers.case_id",
    "offers.lawyer_id",
    "offers.sent_at",
    "reviews.contract_id",
    "reviews.created_at",
}


def condition(name: str, value: str) -> str | None:
    """SQL: whether the non-null `value` of the logical column `table.column` can be used; None: all can."""
    table, column = name.split(".")
    family = TABLES[table][column]
    if name in OPEN_ENDED:
        return None
    if name in VALUES:
        known = ", ".join(f"'{one}'" for one in VALUES[name])
        return f"{value} IN ({known})"
    if name in SHAPES:
        return f"btrim({value}) ~* '^{SHAPES[name]}$'"
    if name in RANGES:
        low, high = RANGES[name]
        whole = f" AND {value} = floor({value})" if name in WHOLE else ""
        return f"{value} BETWEEN {low} AND {high}{whole}"
    return {
        "number": f"{value} > -1e300 AND {value} < 1e300",
        "instant": f"litgo.instant({value}) IS NOT NULL",
        "date": f"{value} >= DATE '1900-01-01' AND {value} < DATE '3000-01-01'",
        "point": f"litgo.placed({value}) IS NOT NULL",
        "text[]": f"coalesce(array_ndims({value}), 1) = 1 "
        f"AND NOT EXISTS (SELECT FROM unnest({value}) AS one WHERE one IS NULL)",
        "json": f"jsonb_typeof({value}) = 'object'",
        "text": None if name in FREE_TEXT else f"btrim({value}) <> ''",
    }.get(family)


def has_shape(name: str, text: str) -> bool:
    """Whether a text without blanks around it can be one of the column `name` of SHAPES, as `condition` says in SQL."""
    return bool(re.fullmatch(SHAPES[name], text, re.IGNORECASE))


def view_statement(tables: Iterable[tuple[str, str, Mapping[str, str]]]) -> str:
    """The view of unusable values: one row per column that has some, with their number and one id.

    `tables`: logical name, FROM clause with the row as t, and SQL of each present column. Each table is read once.
    """
    parts = []
    for name, source, columns in tables:
        identity = columns.get("id") or f"{columns['case_id']}::text || ':' || {columns['lawyer_id']}::text"
        checked = {column: _unusable(f"{name}.{column}", value) for column, value in columns.items()}
        if columns.keys() >= _PAIR:
            for column in _PAIR:
                nowhere = f"{columns[column]} IS NOT NULL AND {_unplaced(columns)}"
                checked[column] = " OR ".join(filter(None, (checked[column], nowhere)))
        found = [(column, test) for column, test in checked.items() if test is not None]
        figures = ",\n        ".join(
            f"count(*) FILTER (WHERE {test}) AS n{place}, min(({identity})::text) FILTER (WHERE {test}) AS i{place}"
            for place, (_, test) in enumerate(found)
        )
        rows = ", ".join(f"('{column}', n{place}, i{place})" for place, (column, _) in enumerate(found))
        parts.append(
            f"SELECT '{name}' AS table_name, v.column_name, v.found, v.example\nFROM (\n    SELECT {figures}\n"
            f"    FROM {source}\n) AS read CROSS JOIN LATERAL (VALUES {rows}) AS v (column_name, found, example)\n"
            "WHERE v.found > 0"
        )
    return f"CREATE VIEW {UNUSABLE} AS\n" + "\nUNION ALL\n".join(parts)


def _unplaced(columns: Mapping[str, str]) -> str:
    """SQL: whether latitude and longitude, which stand where the point says nothing, are no place either."""
    pair = f"litgo.placed(point(litgo.number({columns['lng']}), litgo.number({columns['lat']}))) IS NULL"
    points = [f"litgo.placed({columns[column]}) IS NULL" for column in ("geo_latlon", "coords") if column in columns]
    return " AND ".join((pair, *points))


def _unusable(name: str, value: str) -> str | None:
    usable = condition(name, value)
    there = f"{value} IS NOT NULL AND ({usable}) IS NOT TRUE" if usable else None
    missing = f"{value} IS NULL" if name in NEEDED else None
    return " OR ".join(filter(None, (missing, there))) or None
