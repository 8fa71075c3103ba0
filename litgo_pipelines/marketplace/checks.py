"""Schema contract: a run stops before it computes on a marketplace that lacks what we rely on.

Values that cannot be used stop nobody; each table's result lists them by column.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import dagster as dg

from litgo_pipelines.database import Cursor, sql
from litgo_pipelines.marketplace.schema import TABLES, violations
from litgo_pipelines.marketplace.usable import UNUSABLE
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.steps import table_metadata

LIVE_SCHEMA = sql("litgo_pipelines.marketplace", "live_schema.sql")


@dg.multi_asset_check(
    name="schema_contract",
    description="Every table and column the pipelines rely on is there, with a type that serves, may be read and "
    "written, hides no row, and has not lost more than half of its rows since the last good night. Lists the "
    "values that count as absent because nothing can be done with them.",
    specs=[dg.AssetCheckSpec("schema_contract", asset=table, blocking=True) for table in TABLES],
    can_subset=True,
)
def schema_contract(context: dg.AssetCheckExecutionContext, postgres: Postgres) -> Iterator[dg.AssetCheckResult]:
    asked = {key.asset_key for key in context.selected_asset_check_keys}
    yield from (result for result in contract_results(postgres) if result.asset_key in asked)


def contract_results(postgres: Postgres) -> Iterator[dg.AssetCheckResult]:
    """One per table: what it lacks, and what of it cannot be used."""
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(LIVE_SCHEMA, (list(TABLES),))
        missing = violations(cursor.fetchall())
        problems, rows = _problems(cursor, missing, datetime.now(UTC))
        unusable: list[tuple[str, str, int, str]] = []
        if not missing and rows:
            cursor.execute(f"SELECT table_name, column_name, found, example FROM {UNUSABLE} ORDER BY 1, 3 DESC, 2")
            unusable = cursor.fetchall()
    for table in TABLES:
        mine = problems[table]
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
                "rows": rows.get(table, 0),
                "violations": mine,
                "values that count as absent": number,
                "columns with values that count as absent": table_metadata(
                    ("column", "values that count as absent", "one of them"),
                    [(f"{table}.{column}", found, example) for _, column, found, example in absent],
                ),
            },
        )


def _problems(cursor: Cursor, missing: list[str], at: datetime) -> tuple[Mapping[str, list[str]], dict[str, int]]:
    """(table → sentences, rows of each table); counts without a problem are kept as those of a good night."""
    from litgo_pipelines.marketplace import access, counts, views

    problems: dict[str, list[str]] = defaultdict(list)
    for problem in missing:
        problems[problem.split()[1].split(".")[0]].append(problem)
    if closed := access.closed(cursor):
        return {table: [closed] for table in TABLES}, {}
    for table, problem in [*access.hidden(cursor), *access.refused(cursor)]:
        problems[table].append(problem)
    if problems:
        return problems, {}
    for table, problem in access.unreadable(cursor):
        problems[table].append(problem)
    if problems:
        return problems, {}
    mapping = views.wanted(cursor)
    for table, problem in views.out_of_step(cursor, mapping):
        problems[table].append(f"{problem}: run `litgo migrate`")
    for table, problem in [
        *access.unwritable(cursor, mapping),
        *access.raising(cursor, mapping),
        *access.repeated(cursor, mapping),
    ]:
        problems[table].append(problem)
    if problems:
        return problems, {}
    rows, good = counts.count(cursor), counts.last_good(cursor)
    for table, number in rows.items():
        if fallen := counts.fall(table, number, good.get(table)):
            problems[table].append(fallen)
    if not problems:
        counts.keep(cursor, rows, at)
    return problems, rows


checks = [schema_contract]
