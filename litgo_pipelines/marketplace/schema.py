"""The logical tables that the statements name: columns, types, what is written, what may be absent.

Pure: no Dagster, no database. A mapping (`mapping.py`) says where a marketplace keeps each column; `views.py` makes one
view per table of it, `checks.py` compares the views with this, `tables.sql` creates tables where there are none.
"""

from collections.abc import Iterable

SOURCE_SCHEMA = "litgo_source"  # of the views; every session finds it by its search_path

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
OTHER_TEXTS = {"citext", "name", "char", "bpchar"}  # shown as text; char(n) has blanks at its end
# What an absent column is a null of.
TYPES = {
    "uuid": "uuid",
    "text": "text",
    "text[]": "text[]",
    "number": "float8",
    "boolean": "boolean",
    "instant": "timestamptz",
    "date": "date",
    "json": "jsonb",
    "point": "point",
}

EQUITY_COLUMNS = {
    "cases_30d": "int",
    "capacidade_mensal": "int",
    "last_offered_at": "timestamptz",
    "equity_updated_at": "timestamptz",
}

# table → column → family. Only what a statement of ours names.
TABLES: dict[str, dict[str, str]] = {
    "profiles": {"id": "uuid", "full_name": "text", "email": "text", "push_token": "text", "ai_consent": "boolean"},
    "lawyers": {
        "id": "uuid",
        "name": "text",
        "oab_number": "text",
        "primary_area": "text",
        "tags_expertise": "text[]",
        "geo_latlon": "point",
        "lat": "number",
        "lng": "number",
        "is_available": "boolean",
        "active": "boolean",
        "leave_from": "instant",
        "leave_until": "instant",
        "kpi": "json",
        "kpi_subarea": "json",
        "kpi_softskill": "number",
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
        "lat": "number",
        "lng": "number",
        "status": "text",
        "preset": "text",
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
        "client_id": "uuid",
        "status": "text",
        "fee_model": "json",
        "signed_client": "instant",
        "signed_lawyer": "instant",
        "doc_url": "text",
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

# What follows where a mapping says null. Every other column must be there.
OPTIONAL = {
    "profiles.full_name": "messages and contracts address nobody by name",
    "profiles.email": "messages go by push alone, and nothing can be signed by e-mail",
    "profiles.push_token": "messages go by e-mail alone",
    "profiles.ai_consent": "nobody has consented: no text goes to OpenAI",
    "lawyers.oab_number": "contracts name no registration number",
    "lawyers.primary_area": "a lawyer's areas are those of tags_expertise",
    "lawyers.geo_latlon": "a lawyer's place is that of lat and lng; without those there is none: closeness is imputed",
    "lawyers.lat": "a lawyer's place is the point alone",
    "lawyers.lng": "a lawyer's place is the point alone",
    "lawyers.active": "is_available alone decides who is offered cases",
    "lawyers.leave_from": "a leave begins at once",
    "lawyers.leave_until": "a leave has no known end",
    "lawyers.kpi": "success rates and response times come from the platform's own cases alone",
    "lawyers.kpi_subarea": "success by subarea comes from the platform's own cases alone",
    "lawyers.kpi_softskill": "soft skills come from reviews alone",
    "lawyers.curriculo_json": "qualification is imputed, capacity knows neither firm nor stated years",
    "lawyers.max_concurrent_cases": "no lawyer has a limit of open cases",
    "lawyers.oab_inscription_date": "years of practice come from the curriculum alone",
    "lawyers.cases_30d": "the load is not shown in the marketplace",
    "lawyers.capacidade_mensal": "the capacity is not shown in the marketplace",
    "lawyers.last_offered_at": "the last offer is not shown in the marketplace",
    "lawyers.equity_updated_at": "when the load was computed is not shown in the marketplace",
    "cases.title": "texts are compared by the description alone",
    "cases.coords": "a case's place is that of lat and lng; without those there is none: closeness is imputed and the "
    "radius is not applied",
    "cases.lat": "a case's place is the point alone",
    "cases.lng": "a case's place is the point alone",
    "cases.preset": "every case is ranked by MATCHING_PRESET",
    "case_matches.weights_used": "explanations do not say what each feature added to a hand-weighted ranking",
    "case_matches.preset_used": "explanations do not name the preset of a ranking",
    "offers.equity_weight": "the weight of equity is kept in the schema litgo alone",
    "offers.last_offered_at": "an offer does not show when the lawyer had the one before",
    "contracts.doc_url": "no contract of before the pipelines is known to have a document",
    "reviews.comment": "soft skills have no comments to be read from",
}

# What the statements write, as (verb → columns). Such a column is a column of theirs, or a translation of one.
WRITTEN: dict[str, dict[str, tuple[str, ...]]] = {
    "profiles": {},
    "lawyers": {"UPDATE": tuple(EQUITY_COLUMNS)},
    "cases": {"UPDATE": ("area", "subarea", "urgency_h", "complexity")},
    "case_matches": {
        "INSERT": tuple(TABLES["case_matches"]),
        "UPDATE": tuple(column for column in TABLES["case_matches"] if column not in ("case_id", "lawyer_id")),
    },
    "offers": {
        "INSERT": tuple(column for column in TABLES["offers"] if column != "responded_at"),
        "UPDATE": ("status", "expires_at"),
    },
    "contracts": {"UPDATE": ("status", "signed_client", "signed_lawyer")},
    "reviews": {},
}

# The values that statements compare with; others are tolerated and mean nothing to them.
VALUES = {
    "cases.status": ("pending_assignment", "assigned", "in_progress", "closed", "cancelled"),
    "cases.complexity": ("LOW", "MEDIUM", "HIGH"),
    "cases.preset": ("balanced", "fast", "expert", "economic"),
    "offers.status": ("pending", "interested", "declined", "expired", "closed"),
    "contracts.status": ("pending-signature", "active", "closed", "canceled"),
    "reviews.outcome": ("won", "lost", "settled", "ongoing"),
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
