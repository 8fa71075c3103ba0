"""Loading a simulated marketplace into a database, in one transaction, and never over a real marketplace.

Here: the safety rules and the loading. What the rows say belongs to `truth` and `rows`. Heavy imports happen inside
the functions: `litgo --help` must not load Arrow.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from litgo_pipelines.database import SCHEMA, Cursor, advisory_lock, connect, sql

if TYPE_CHECKING:
    import pyarrow as pa
    from tqdm import tqdm

    from litgo_pipelines.simulation.truth import Events, World

VERSION = 2  # raise it when the same parameters would give other rows
TABLES = ("profiles", "lawyers", "cases", "case_matches", "offers", "contracts", "reviews")
# Tables of ours that no marketplace changes: what the database is, words, and what other systems said.
KEPT = (
    "area_words",
    "backups",
    "circuit_breakers",
    "mail_suppressions",
    "own_marketplace",
    "schema_migrations",
    "source_indexes",
    "source_mapping",
    "subarea_words",
)
# Stay when one simulated marketplace follows another, as append-only tables do; `reset` empties them too.
OUTLASTING = ("job_runs", "metric_state", "model_projection", "person_requests", "pseudonym_keys", "tombstones")
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
    kind: of world (`worlds.KINDS`). replace: what is there and what was computed from it goes first, whatever it is.
    Raises NotOurMarketplace; OtherSimulation, unless `replace`; ValueError for sizes below 1, a negative seed or a
    naive `end`.
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
        if present is not None and not replace:
            counts = present.pop("rows", {})
            if present == wanted:
                return {"loaded": False, **counts}
            raise OtherSimulation(
                f"a marketplace simulated with {json.dumps(present)} is there already, not {json.dumps(wanted)}: "
                "ask for the same one, or replace it (replace=True)"
            )
        counts = replace_tables(cursor, world, progress)
        cursor.execute(
            f"UPDATE {SCHEMA}.own_marketplace SET simulated_at = now(), simulation = %s WHERE true",
            (json.dumps({**wanted, "rows": counts}),),
        )
    return {"loaded": True, **counts}


@dataclass(frozen=True)
class Found:
    """What a simulated marketplace holds: rows by table, and those among them that were not simulated."""

    rows: dict[str, int]
    added: dict[str, int]


def refuse_others(url: str) -> None:
    """Raises NotOurMarketplace where there is a marketplace that `litgo migrate` did not create; changes nothing."""
    with connect(url, application_name="litgo-simulate", attempts=1) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM unnest(%s) AS names (name) WHERE to_regclass('public.' || name) IS NOT NULL)",
            (list(TABLES),),
        )
        (there,) = cursor.fetchone() or (False,)
        if there:
            _parameters(cursor)


def simulated(url: str) -> Found:
    """What `reset` would empty. Raises NotOurMarketplace where nothing was simulated."""
    with connect(url, application_name="litgo-simulate") as connection, connection.cursor() as cursor:
        return _found(cursor)


def reset(url: str, *, added: bool = False) -> Found:
    """Empty the simulated marketplace and all that came of it, ledger and experiments too; returns what there was.

    added: also rows that were not simulated. Raises NotOurMarketplace where nothing was simulated, or where there are
    such rows and `added` is false; then nothing was changed.
    """
    with connect(url, application_name="litgo-simulate") as connection, connection.cursor() as cursor:
        advisory_lock(cursor, "simulate")
        found = _found(cursor)
        if found.added and not added:
            raise NotOurMarketplace(
                f"{_counted(found.added)} that were not simulated: nothing is emptied. With --added they go too"
            )
        tables = _ours(cursor, outlasting=True)
        guarded = sorted(set(tables) - set(_ours(cursor, outlasting=False, but=())))  # append-only
        for table in guarded:
            cursor.execute(f"ALTER TABLE {SCHEMA}.{table} DISABLE TRIGGER USER")
        cursor.execute(f"TRUNCATE {', '.join([*(f'public.{t}' for t in TABLES), *(f'{SCHEMA}.{t}' for t in tables)])}")
        for table in guarded:
            cursor.execute(f"ALTER TABLE {SCHEMA}.{table} ENABLE TRIGGER USER")
        cursor.execute(f"UPDATE {SCHEMA}.own_marketplace SET simulated_at = NULL, simulation = NULL WHERE true")
    return found


def _found(cursor: Cursor) -> Found:
    if _parameters(cursor) is None:
        raise NotOurMarketplace(
            f"the database {_name(cursor)} was not filled by the simulation, so nothing in it is emptied"
        )
    cursor.execute("SELECT " + ", ".join(f"(SELECT count(*) FROM public.{table})" for table in TABLES))
    rows = dict(zip(TABLES, cursor.fetchone() or (), strict=True))
    return Found(rows, _added(cursor, simulated=True))


def _ours(cursor: Cursor, *, outlasting: bool, but: tuple[str, ...] = OUTLASTING) -> list[str]:
    """Tables of ours that a marketplace fills: all but KEPT; without `outlasting`, also without `but` and those that
    may only be appended to."""
    cursor.execute(
        "SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = %s::regnamespace AND c.relkind IN ('r', 'p') "
        "AND c.relname <> ALL(%s) AND (%s OR (c.relname <> ALL(%s) AND NOT EXISTS (SELECT FROM pg_trigger t "
        "WHERE t.tgrelid = c.oid AND t.tgtype & 32 > 0))) ORDER BY 1",  # 32: before TRUNCATE
        (SCHEMA, list(KEPT), outlasting, list(but)),
    )
    return [table for (table,) in cursor.fetchall()]


def _name(cursor: Cursor) -> str:
    cursor.execute("SELECT current_database(), coalesce(host(inet_server_addr()), 'the local socket')")
    name, host = cursor.fetchone() or ("", "")
    return f"{name!r} at {host}"


def _counted(rows: dict[str, int]) -> str:
    return " and ".join(f"public.{table} holds {number:,} rows" for table, number in rows.items())


def _check_ours(cursor: Cursor) -> dict[str, Any] | None:
    """Parameters of the simulation that is there, None for an empty marketplace; raises NotOurMarketplace.

    Takes the lock first, so that two loads run one after the other and the second sees the first's rows.
    """
    advisory_lock(cursor, "simulate")
    parameters = _parameters(cursor)
    if added := _added(cursor, simulated=parameters is not None):
        raise NotOurMarketplace(
            f"{_counted(added)} that were not simulated, so nothing is written: name an empty database and run "
            "`litgo migrate` there first" + ("; or empty this one: `litgo reset --added`" if parameters else "")
        )
    return parameters


def _parameters(cursor: Cursor) -> dict[str, Any] | None:
    """Of the simulation that filled the marketplace, None for none. Raises NotOurMarketplace where it is not ours."""
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{SCHEMA}.own_marketplace",))
    (marked,) = cursor.fetchone() or (False,)
    if marked:
        cursor.execute(f"SELECT simulated_at IS NOT NULL, simulation FROM {SCHEMA}.own_marketplace")
        row = cursor.fetchone()
    if not marked or row is None:
        raise NotOurMarketplace(
            f"the marketplace in the database {_name(cursor)} was not created by `litgo migrate`, so nothing is "
            "simulated into it or emptied: name an empty database and run `litgo migrate` there first"
        )
    return row[1] if row[0] else None


def _added(cursor: Cursor, *, simulated: bool) -> dict[str, int]:
    """Rows by table that are somebody's: neither simulated nor what matching wrote about those that are.

    Without a simulation on record even rows that look simulated are somebody's.
    """
    from litgo_pipelines.simulation.rows import ID_PREFIX

    low, high = (f"{int(ID_PREFIX, 16) + step:04x}0000-0000-0000-0000-000000000000" for step in (0, 1))
    cursor.execute(
        sql("litgo_pipelines.simulation", "added.sql"),
        {"low": low if simulated else high, "high": high},
    )
    return {table: number for table, number in cursor.fetchall() if number}


def replace_tables(cursor: Cursor, world: "World", progress: bool) -> dict[str, int]:
    """The world's rows in place of whatever the marketplace's tables hold, and ours emptied: table → rows written."""
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
    cursor.execute(f"TRUNCATE {', '.join(f'{SCHEMA}.{table}' for table in _ours(cursor, outlasting=False))}")
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
