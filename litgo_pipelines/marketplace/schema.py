"""The part of the marketplace's schema the pipelines rely on, as data. Extra tables and columns are welcome.

Pure: no Dagster, no database. `checks.py` compares it with a live database, `tables.sql` creates it where nothing is.
"""

from collections.abc import Iterable

# Types as format families: a column of any member of the family serves (Postgres' udt_name).
FAMILIES = {
    "uuid": {"uuid"},
    "text": {"text", "varchar", "bpchar"},
    "text[]": {"_text", "_varchar"},
    "number": {"int2", "int4", "int8", "numeric", "float4", "float8"},
    "boolean": {"bool"},
    "instant": {"timestamptz"},
    "date": {"date", "timestamptz", "timestamp"},
    "json": {"jsonb"},
    "point": {"point"},
}

EQUITY_COLUMNS = {
    "cases_30d": "int",
    "capacidade_mensal": "int",
    "last_offered_at": "timestamptz",
    "equity_updated_at": "timestamptz",
}

# table → column → family. Only what a statement of ours names.
TABLES: dict[str, dict[str, str]] = {
    "profiles": {"id": "uuid", "full_name": "text", "email": "text", "push_token": "text"},
    "lawyers": {
        "id": "uuid",
        "name": "text",
        "primary_area": "text",
        "tags_expertise": "text[]",
        "geo_latlon": "point",
        "is_available": "boolean",
        "kpi": "json",
        "kpi_subarea": "json",
        "curriculo_json": "json",
        "max_concurrent_cases": "number",
        "oab_inscription_date": "date",
        "cases_30d": "number",
        "capacidade_mensal": "number",
        "last_offered_at": "instant",
        "equity_updated_at": "instant",
        "created_at": "instant",
    },
    "cases": {
        "id": "uuid",
        "client_id": "uuid",
        "title": "text",
        "description": "text",
        "area": "text",
        "subarea": "text",
        "urgency_h": "number",
        "complexity": "text",
        "coords": "point",
        "status": "text",
        "created_at": "instant",
    },
    "case_matches": {
        "case_id": "uuid",
        "lawyer_id": "uuid",
        "fair_score": "number",
        "equity_score": "number",
        "raw_score": "number",
        "features": "json",
        "breakdown": "json",
        "weights_used": "json",
        "preset_used": "text",
        "created_at": "instant",
    },
    "offers": {
        "id": "uuid",
        "case_id": "uuid",
        "lawyer_id": "uuid",
        "status": "text",
        "sent_at": "instant",
        "responded_at": "instant",
        "expires_at": "instant",
        "fair_score": "number",
        "raw_score": "number",
        "equity_weight": "number",
        "last_offered_at": "instant",
        "created_at": "instant",
    },
    "contracts": {
        "id": "uuid",
        "case_id": "uuid",
        "lawyer_id": "uuid",
        "status": "text",
        "signed_client": "instant",
        "signed_lawyer": "instant",
        "created_at": "instant",
    },
    "reviews": {
        "id": "uuid",
        "contract_id": "uuid",
        "rating": "number",
        "outcome": "text",
        "comment": "text",
        "created_at": "instant",
    },
}


def violations(live: Iterable[tuple[str, str, str]]) -> list[str]:
    """What keeps `live` (table, column, udt_name) from serving, one readable line each; empty when it serves."""
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in live:
        found.setdefault(table, {})[column] = kind
    problems = []
    for table, columns in TABLES.items():
        if table not in found:
            problems.append(f"table {table} is missing")
            continue
        for column, family in columns.items():
            if column not in found[table]:
                problems.append(f"column {table}.{column} ({family}) is missing")
            elif (kind := found[table][column]) not in FAMILIES[family]:
                problems.append(
                    f"column {table}.{column} is {kind}, expected {family} ({'/'.join(sorted(FAMILIES[family]))})"
                )
    return problems
