"""The schema contract: a run stops before it computes on a marketplace that lacks what we rely on.

Values that cannot be used stop nobody; each table's result lists them by column.
"""

from collections.abc import Iterator

import dagster as dg

from litgo_pipelines.marketplace.schema import TABLES, violations
from litgo_pipelines.marketplace.usable import UNUSABLE, table_of
from litgo_pipelines.resources.postgres import Postgres

LIVE_SCHEMA = """
SELECT table_name, column_name, udt_name FROM information_schema.columns
WHERE table_schema = 'litgo_source' AND table_name = ANY (%s)
"""


@dg.multi_asset_check(
    name="schema_contract",
    description="Every table and column the pipelines rely on is there, with a type that serves. Lists the values that "
    "count as absent because nothing can be done with them.",
    specs=[dg.AssetCheckSpec("schema_contract", asset=table, blocking=True) for table in TABLES],
)
def schema_contract(postgres: Postgres) -> Iterator[dg.AssetCheckResult]:
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(LIVE_SCHEMA, (list(TABLES),))
        problems = violations(cursor.fetchall())
        unusable: list[tuple[str, str, int, str]] = []
        if not problems:
            cursor.execute(f"SELECT table_name, column_name, found, example FROM {UNUSABLE} ORDER BY 1, 3 DESC, 2")
            unusable = cursor.fetchall()
    for table in TABLES:
        mine = [p for p in problems if p.split()[1].split(".")[0] == table]
        absent = [row for row in unusable if row[0] == table]
        number = sum(found for _, _, found, _ in absent)
        fine = f"as expected; {number:,} values count as absent" if number else "as expected"
        yield dg.AssetCheckResult(
            check_name="schema_contract",
            asset_key=table,
            passed=not mine,
            description="; ".join(mine) or fine,
            metadata={
                "columns relied on": len(TABLES[table]),
                "violations": mine,
                "values that count as absent": number,
                "columns with values that count as absent": dg.MetadataValue.md(table_of(absent)),
            },
        )


checks = [schema_contract]
