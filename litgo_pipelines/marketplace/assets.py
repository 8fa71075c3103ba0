"""Marketplace tables as external assets: Dagster shows them and their lineage, and never writes them."""

import dagster as dg

from litgo_pipelines.marketplace.schema import SOURCE_SCHEMA, TABLES
from litgo_pipelines.owners import Owner

GROUP = "marketplace"
DESCRIPTIONS = {
    "profiles": "Clients and lawyers as persons. Personal data: only the id leaves this table.",
    "lawyers": "Lawyers with profile, areas and place. The nightly equity job writes four columns of it.",
    "cases": "Clients' cases with area, place and urgency.",
    "case_matches": "Scores and features of a case and lawyer, as they were when the offer was made.",
    "offers": "Offers of a case to a lawyer and the answer to them; 24 hours to answer.",
    "contracts": "Contracts between client and lawyer; at most one open contract per case.",
    "reviews": "Clients' reviews after a contract: 1 to 5 stars and the outcome.",
}

assets = [
    dg.AssetSpec(
        table,
        group_name=GROUP,
        description=DESCRIPTIONS[table],
        owners=[Owner.MARKETPLACE],
        kinds={"postgres", "table"},
        metadata={"dagster/table_name": f"{SOURCE_SCHEMA}.{table}", "columns relied on": sorted(TABLES[table])},
    )
    for table in TABLES
]
