"""Loading a simulated marketplace into a database, in one transaction, and never over a real marketplace.

Here: the safety rules and the loading. What the rows say belongs to `truth` and `rows`. Heavy imports happen inside
the functions: `litgo --help` must not load Arrow.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from litgo_pipelines.database import SCHEMA, Cursor, advisory_lock, connect, sql

if TYPE_CHECKING:
    import pyarrow as pa
    from tqdm import tqdm

    from litgo_pipelines.simulation.truth import Events, World

VERSION = 2  # raise it when the same parameters would give other rows
TABLES = ("profiles", "lawyers", "cases", "case_matches", "offers", "contracts", "reviews")
# What was computed from a marketplace: it goes with it. Ledger and counters are append-only and stay.
DERIVED = (
    "equity_history",
    "offer_distribution",
    "retrainings",
    "lawyer_evidence",
    "lawyer_subarea_evidence",
    "lawyer_momentum",
    "evidence_refresh",
    "review_sentiment",
    "text_embeddings",
    "text_stems",
    "triage",
    "triage_failures",
    "allocation_parameters",
    "matching_batches",
    "matchings",
    "exposures",
    "matching_failures",
    "outbox",
    "deliveries",
    "contract_requests",
    "contract_documents",
    "unembeddable_texts",
    "withheld_texts",
)
ROWS_PER_COPY = 100_000


class NotOurMarketplace(RuntimeError):
    """The database holds, or may hold, a marketplace this package did not create. Nothing was written."""


class OtherSimulation(RuntimeError):
    """The database holds a simulated marketplace with other parameters. Nothing was written."""


def simulate(
    url: str,
    *,
    seed: int,
    lawyers: int,
    cases: int,
    days: int,
    end: datetime,
    progress: bool = True,
    replace: bool = False,
    kind: str = "usual",
) -> dict[str, Any]:
    """Fill the migrated, empty marketplace at `url` with `days` of history up to `end` (timezone-aware).

    Returns {"loaded": bool, table: rows, …}; "loaded" is False when exactly this marketplace is there already. The
    same arguments give the same rows, ids included. One transaction: whatever interrupts it, all or nothing is there.
    kind: of world (`worlds.KINDS`).
    Raises NotOurMarketplace; OtherSimulation, unless `replace` (then the tables are emptied first); ValueError for
    sizes below 1, a negative seed or a naive `end`.
    """
    from litgo_pipelines.simulation.truth import World
    from litgo_pipelines.simulation.worlds import KINDS, USUAL

    if kind not in KINDS:
        raise ValueError(f"there is no world {kind!r}: there are {', '.join(KINDS)}")
    of = KINDS[kind]
    world = World(seed, lawyers, cases, days, end, taste=of.taste, blind=of.blind)
    wanted = {
        "version": VERSION,
        "seed": seed,
        "lawyers": lawyers,
        "cases": cases,
        "days": days,
        "end": datetime.fromtimestamp(world.stop, UTC).isoformat(),
        **({} if kind == USUAL else {"kind": kind}),
    }
    with connect(url, application_name="litgo-simulate") as connection, connection.cursor() as cursor:
        present = _check_ours(cursor)
        if present is not None:
            counts = present.pop("rows", {})
            if present == wanted:
                return {"loaded": False, **counts}
            if not replace:
                raise OtherSimulation(
                    f"a marketplace simulated with {json.dumps(present)} is there already, not {json.dumps(wanted)}: "
                    "ask for the same one, or replace it (replace=True)"
                )
        counts = _load(cursor, world, progress)
        cursor.execute(
            f"UPDATE {SCHEMA}.own_marketplace SET simulated_at = now(), simulation = %s",
            (json.dumps({**wanted, "rows": counts}),),
        )
    return {"loaded": True, **counts}


def _check_ours(cursor: Cursor) -> dict[str, Any] | None:
    """Parameters of the simulation that is there, None for an empty marketplace; raises NotOurMarketplace.

    Takes the lock first, so that two loads run one after the other and the second sees the first's rows.
    """
    from litgo_pipelines.simulation.rows import ID_PREFIX

    advisory_lock(cursor, "simulate")
    cursor.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.own_marketplace",))
    marked = cursor.fetchone()[0] is not None
    if marked:
        cursor.execute(f"SELECT simulated_at IS NOT NULL, simulation FROM {SCHEMA}.own_marketplace")
        row = cursor.fetchone()
    if not marked or row is None:
        raise NotOurMarketplace(
            "this database's marketplace was not created by `litgo migrate`, so nothing is simulated into it: "
            "name an empty database and run `litgo migrate` there first"
        )
    simulated, parameters = row
    low, high = (f"{int(ID_PREFIX, 16) + step:04x}0000-0000-0000-0000-000000000000" for step in (0, 1))
    for table in TABLES:
        for column in ("case_id", "lawyer_id") if table == "case_matches" else ("id",):
            # Without a simulation on record even rows that look simulated are somebody's.
            foreign = "true" if not simulated else f"({column} < %(low)s OR {column} >= %(high)s)"
            cursor.execute(f"SELECT EXISTS (SELECT FROM public.{table} WHERE {foreign})", {"low": low, "high": high})
            if cursor.fetchone()[0]:
                raise NotOurMarketplace(
                    f"public.{table} holds rows that were not simulated, so nothing is written: "
                    "name an empty database and run `litgo migrate` there first"
                )
    return parameters if simulated else None


def _load(cursor: Cursor, world: "World", progress: bool) -> dict[str, int]:
    import pyarrow as pa
    from tqdm import tqdm

    from litgo_pipelines.simulation import rows
    from litgo_pipelines.simulation.truth import Market

    counts = dict.fromkeys(TABLES, 0)

    def copy(table: str, data: pa.Table) -> None:
        _copy(cursor, table, data)
        counts[table] += len(data)

    cursor.execute("SET LOCAL maintenance_work_mem = '256MB'")
    cursor.execute(f"TRUNCATE {', '.join(f'public.{table}' for table in TABLES)}")
    cursor.execute(f"TRUNCATE {', '.join(f'{SCHEMA}.{table}' for table in DERIVED)}")
    market = Market(world)
    with (
        tqdm(total=world.cases, unit=" cases", desc="simulating", disable=not progress, mininterval=0.5) as bar,
        _without_indexes(cursor, bar),
    ):
        for table in _slices(rows.clients(world)):
            copy("profiles", table)
        for batch in _batches(market.events()):
            for name, table in rows.tables(batch, world.seed).items():
                copy(name, table)
            bar.update(len(batch["cases"]["index"]))
        # Last, because a lawyer's rating is what the reviews came to.
        for name, table in zip(("lawyers", "profiles"), rows.lawyers(market), strict=True):
            copy(name, table)
    cursor.execute(f"ANALYZE {', '.join(f'public.{table}' for table in TABLES)}")
    return counts


def _slices(table: "pa.Table") -> Iterator["pa.Table"]:
    for low in range(0, len(table), ROWS_PER_COPY):
        yield table.slice(low, ROWS_PER_COPY)


def _batches(events: "Iterator[Events]") -> "Iterator[Events]":
    """Events joined until a batch is worth a COPY; a small market's days are."""
    import numpy as np

    def joined() -> "Events":
        return {
            table: {name: np.concatenate([block[table][name] for block in waiting]) for name in columns}
            for table, columns in waiting[0].items()
        }

    waiting: list[Events] = []
    size = 0
    for block in events:
        waiting.append(block)
        size += len(block["offers"]["index"])
        if size >= ROWS_PER_COPY:
            yield joined()
            waiting, size = [], 0
    if waiting:
        yield joined()


def _copy(cursor: Cursor, table: str, data: "pa.Table") -> None:
    import pyarrow as pa
    import pyarrow.csv as pacsv

    sink = pa.BufferOutputStream()
    pacsv.write_csv(data, sink, pacsv.WriteOptions(include_header=False))
    # FREEZE: the table was emptied in this transaction, so no reader has to settle the rows' visibility later.
    cursor.copy_expert(
        f"COPY public.{table} ({', '.join(data.column_names)}) FROM STDIN WITH (FORMAT csv, FREEZE)",
        pa.BufferReader(sink.getvalue()),
    )


@contextmanager
def _without_indexes(cursor: Cursor, bar: "tqdm[object]") -> Iterator[None]:
    """Drop the constraints and indexes of the marketplace's tables, and build them again as they were.

    One sort of all keys is several times cheaper than millions of insertions, and one join than millions of look-ups;
    it checks every row just the same. Inside the transaction, so nobody sees a table without its constraints.
    """
    cursor.execute(
        sql("litgo_pipelines.simulation", "constraints.sql"),
        {"tables": [f"public.{table}" for table in TABLES]},
    )
    constraints = cursor.fetchall()
    # Backwards: a primary key goes after the foreign keys that need it.
    for table, name, _, _ in reversed(constraints):
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    cursor.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
        "WHERE indrelid = ANY(%s::regclass[]) ORDER BY 1",
        ([f"public.{table}" for table in TABLES],),
    )
    indexes = cursor.fetchall()
    for name, _ in indexes:
        cursor.execute(f"DROP INDEX {name}")
    yield
    keys = [f"ALTER TABLE {t} ADD CONSTRAINT {n} {d}" for t, n, kind, d in constraints if kind != "f"]
    references = [f"ALTER TABLE {t} ADD CONSTRAINT {n} {d}" for t, n, kind, d in constraints if kind == "f"]
    statements = [*keys, *(definition for _, definition in indexes), *references]
    bar.set_postfix_str("building indexes and checking keys")
    for statement in statements:
        cursor.execute(statement)
