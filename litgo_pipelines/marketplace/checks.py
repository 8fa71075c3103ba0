"""The schema contract: a run stops before it computes on a marketplace that lacks what we rely on."""

from collections.abc import Iterator

import dagster as dg

from litgo_pipelines.marketplace.schema import TABLES, violations
from litgo_pipelines.resources.postgres import Postgres

LIVE_SCHEMA = """
SELECT table_name, column_name, udt_name FROM information_schema.columns
WHERE table_schema = 'litgo_source' AND table_name = ANY (%s)
"""


@dg.multi_asset_check(
    name="schema_contract",
    description="Every table and column the pipelines rely on is there, with a type that serves.",
    specs=[dg.AssetCheckSpec("schema_contract", asset=table, blocking=True) for table in TABLES],
)
def schema_contract(postgres: Postgres) -> Iterator[dg.AssetCheckResult]:
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(LIVE_SCHEMA, (list(TABLES),))
        live = cursor.fetchall()
    problems = violations(live)
    for table in TABLES:
        mine = [p for p in problems if p.split()[1].split(".")[0] == table]
        yield dg.AssetCheckResult(
            check_name="schema_contract",
            asset_key=table,
            passed=not mine,
            description="; ".join(mine) or "as expected",
            metadata={"columns relied on": len(TABLES[table]), "violations": mine},
        )


checks = [schema_contract]
