"""Source views: one per logical table, made from a mapping, in the schema `litgo_source`.

Belongs here: which of a column's forms this database has, creating the views and keeping what they were made from.
Statements write and read through them with the rights of the views' owner; docs/your-database.md.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import psycopg2

from litgo_pipelines.database import Cursor
from litgo_pipelines.marketplace.mapping import (
    Form,
    MappingError,
    SourceMapping,
    SourceTable,
    parse,
    unusable_view,
    view_statements,
)
from litgo_pipelines.marketplace.schema import FAMILIES, OPTIONAL, SOURCE_SCHEMA, TABLES
from litgo_pipelines.marketplace.usable import UNUSABLE
from litgo_pipelines.settings import settings

DEFAULT = "default"
# What /metrics counts: of no lawyer, and no document. Views of their own, so that the exporter may read nothing else.
EXPORTED = {
    "exported_cases": ("cases", "id", "area", "subarea", "urgency_h", "status", "created_at"),
    "exported_offers": ("offers", "id", "case_id", "status", "sent_at", "responded_at", "expires_at", "created_at"),
    "exported_contracts": ("contracts", "id", "case_id", "status", "documented", "created_at"),
}


@dataclass(frozen=True)
class FittedTable:
    """One logical table as this database has it."""

    table: SourceTable
    chosen: dict[str, Form]
    types: dict[str, str]  # SQL types of the marketplace's columns

    def statements(self) -> list[str]:
        return view_statements(self.table, self.chosen, self.types)


@dataclass(frozen=True)
class Fit:
    """A mapping held against a database: `problems` are lines for a person, `tables` is complete when there is none."""

    mapping: SourceMapping
    tables: dict[str, FittedTable]
    problems: list[str]

    @property
    def absent(self) -> dict[str, str]:
        """Optional columns that are not there → what follows."""
        return {
            f"{name}.{column}": OPTIONAL[f"{name}.{column}"]
            for name, fitted in self.tables.items()
            for column, form in fitted.chosen.items()
            if form.absent
        }

    def of_tables(self) -> list[str]:
        """What makes the views of the logical tables."""
        return [statement for table in self.tables.values() for statement in table.statements()]

    def statements(self) -> list[str]:
        """All that make the views."""
        unusable = unusable_view((table.table, table.chosen) for table in self.tables.values())
        return [*self.of_tables(), unusable]

    def digest(self) -> str:
        """Of the views' statements: other ones mean that the views are made again."""
        text = ";\n".join(self.statements())
        return hashlib.sha256(text.encode()).hexdigest()


def packaged() -> list[str]:
    """Names of the mappings that are part of this package."""
    folder = files("litgo_pipelines.marketplace").joinpath("mappings")
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def load(name: str) -> SourceMapping:
    """A packaged mapping by its name, or one in a file. Raises MappingError."""
    if name in packaged():
        text = files("litgo_pipelines.marketplace").joinpath("mappings", f"{name}.yaml").read_text(encoding="utf-8")
        return parse(text, name)
    try:
        return parse(Path(name).expanduser().read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        raise MappingError(
            f"LITGO_MARKETPLACE_MAPPING={name}: neither one of {', '.join(packaged())} nor a readable file ({error})"
        ) from None


def wanted(cursor: Cursor) -> SourceMapping:
    """The mapping of LITGO_MARKETPLACE_MAPPING; without it the one the views were last made from; else the default."""
    if given := settings().litgo_marketplace_mapping:
        return load(given)
    kept = stored(cursor)
    if kept is None:
        return load(DEFAULT)
    name, text = kept
    return load(name) if name in packaged() else parse(text, name)


def stored(cursor: Cursor) -> tuple[str, str] | None:
    """(name, text) of the mapping that the views were made from."""
    cursor.execute("SELECT to_regclass('litgo.source_mapping') IS NOT NULL")
    if not one(cursor)[0]:
        return None
    cursor.execute("SELECT name, text FROM litgo.source_mapping")
    row = cursor.fetchone()
    return (row[0], row[1]) if row else None


def fit(cursor: Cursor, mapping: SourceMapping) -> Fit:
    """Choose the first form of each column that the database has; every problem is a line."""
    tables, problems = {}, []
    for name, table in mapping.tables.items():
        cursor.execute("SELECT to_regclass(%s)::oid", (table.quoted,))
        relation = one(cursor)[0]
        if relation is None:
            problems.append(f"{mapping.name}, line {table.line}: {name}: there is no table {'.'.join(table.relation)}")
            continue
        cursor.execute(_COLUMNS, (relation,))
        kinds = {column: (kind, base, sort) for column, kind, base, sort in cursor.fetchall()}
        chosen = {}
        for column, forms in table.forms.items():
            chosen[column], found = _first_fitting(cursor, table, column, forms, kinds)
            problems += [f"{mapping.name}, line {forms[0].line}: {name}.{column}: {problem}" for problem in found]
        types = {column: kind for column, (kind, _, _) in kinds.items()}
        tables[name] = FittedTable(table, {column: chosen[column] for column in TABLES[name]}, types)
    return Fit(mapping, tables, problems)


_BASE_TYPE = """
SELECT {name}coalesce(b.typname, t.typname), coalesce(b.typtype, t.typtype) FROM {source}
LEFT JOIN pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype WHERE {condition}
"""
_COLUMNS = _BASE_TYPE.format(
    name="a.attname, format_type(a.atttypid, NULL), ",
    source="pg_attribute a JOIN pg_type t ON t.oid = a.atttypid",
    condition="a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped",
)
Kinds = dict[str, tuple[str, str, str]]  # column of theirs → SQL type, base type's name, pg_type.typtype


def _first_fitting(
    cursor: Cursor, table: SourceTable, column: str, forms: tuple[Form, ...], kinds: Kinds
) -> tuple[Form, list[str]]:
    """(form, problems); no problem when one form fits."""
    problems = []
    for form in forms:
        problem = None if form.absent else _misfit(cursor, table, column, form, kinds)
        if problem is None:
            return form, []
        problems.append(problem)
    return forms[0], problems


def _misfit(cursor: Cursor, table: SourceTable, column: str, form: Form, kinds: Kinds) -> str | None:
    """Why a form does not serve here; None when it does."""
    if form.column is not None and form.column not in kinds:
        return f"{'.'.join(table.relation)} has no column {form.column}"
    family = TABLES[table.name][column]
    if form.column is not None:
        named, (_, kind, sort) = form.column, kinds[form.column]
        if form.values:
            return None if family == "text" else f"values of {family} cannot be translated: write {{sql: …}}"
    else:
        named = "the expression"
        where = f" WHERE {table.where}" if table.where else ""
        try:
            with savepoint(cursor):
                cursor.execute(f"SELECT {form.expression()} FROM {table.quoted} AS t{where} LIMIT 0")
                oid = cursor.description[0].type_code if cursor.description else None
        except psycopg2.Error as error:
            return f"the expression is refused: {_first_line(error)}"
        cursor.execute(_BASE_TYPE.format(name="", source="pg_type t", condition="t.oid = %s"), (oid,))
        kind, sort = one(cursor)
    if kind in FAMILIES[family]:
        return None
    if sort == "e" and family == "text":
        return (
            f"{named} is the enum {kind}: write {{column: …, values: {{ours: theirs}}}}, "
            "or {sql: t.…::text} where it is only read"
        )
    return f"{named} is {kind}, expected {family} ({'/'.join(sorted(FAMILIES[family]))})"


@contextmanager
def savepoint(cursor: Cursor) -> Iterator[None]:
    """What fails inside leaves the transaction usable."""
    cursor.execute("SAVEPOINT probe")
    try:
        yield
    except psycopg2.Error:
        cursor.execute("ROLLBACK TO SAVEPOINT probe")
        raise
    finally:
        cursor.execute("RELEASE SAVEPOINT probe")


def up_to_date(cursor: Cursor, mapping: SourceMapping) -> bool:
    """Whether the views that are there were made from this mapping. Needs no right but to read."""
    cursor.execute("SELECT to_regclass('litgo.source_mapping') IS NOT NULL")
    if not one(cursor)[0]:
        return False
    cursor.execute(
        "SELECT (SELECT text FROM litgo.source_mapping), (SELECT count(*) FROM pg_class WHERE relkind = 'v' "
        "AND relnamespace = to_regnamespace(%s) AND relname = ANY(%s))",
        (SOURCE_SCHEMA, [*TABLES, *EXPORTED, UNUSABLE.split(".")[1]]),
    )
    return one(cursor) == (mapping.text, len(TABLES) + len(EXPORTED) + 1)


def create(cursor: Cursor, fitted: Fit) -> None:
    """Make the views anew and keep what they were made from; grants on them are the caller's to give again."""
    make(cursor, fitted)
    cursor.execute(
        "INSERT INTO litgo.source_mapping (name, text, views_sha256) VALUES (%s, %s, %s) "
        "ON CONFLICT (singleton) DO UPDATE SET name = excluded.name, text = excluded.text, "
        "views_sha256 = excluded.views_sha256, made_at = now()",
        (fitted.mapping.name, fitted.mapping.text, fitted.digest()),
    )


def make(cursor: Cursor, fitted: Fit) -> None:
    """Make the views anew, in the caller's transaction."""
    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SOURCE_SCHEMA}")
    cursor.execute(f"DROP VIEW IF EXISTS {UNUSABLE}")
    for name in (*TABLES, *EXPORTED):
        cursor.execute(f"DROP VIEW IF EXISTS {SOURCE_SCHEMA}.{name} CASCADE")
        for verb in ("insert", "update"):
            cursor.execute(f"DROP FUNCTION IF EXISTS {SOURCE_SCHEMA}.{name}_{verb}()")
    cursor.execute("SELECT to_regprocedure('litgo.instant(timestamptz)') IS NOT NULL")
    migrated = one(cursor)[0]  # before that a trial makes the tables' views alone
    for statement in fitted.statements() if migrated else fitted.of_tables():
        cursor.execute(statement)
    for name, (source, *columns) in EXPORTED.items():
        cursor.execute(_exported(name, fitted.tables[source], columns))


def _exported(name: str, fitted: FittedTable, columns: list[str]) -> str:
    """The statement that creates a view for /metrics; on the table itself, not on its view."""

    def shown(column: str) -> str:
        form = fitted.chosen["doc_url" if column == "documented" else column]
        if column == "documented":
            return "false" if form.absent else f"nullif(btrim({form.expression()}), '') IS NOT NULL"
        return form.expression()

    selected = ", ".join(f"{shown(column)} AS {column}" for column in columns)
    where = f" WHERE {fitted.table.where}" if fitted.table.where else ""
    return f"CREATE VIEW {SOURCE_SCHEMA}.{name} AS SELECT {selected} FROM {fitted.table.quoted} AS t{where}"


def _first_line(error: psycopg2.Error) -> str:
    return str(error).strip().split("\n")[0]


def one(cursor: Cursor) -> tuple:
    """The next row of an answer that has one."""
    row = cursor.fetchone()
    if row is None:
        raise LookupError("the database answered no row")
    return row
