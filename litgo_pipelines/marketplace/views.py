"""Source views: one per logical table, made from a mapping, in the schema `litgo_source`.

Belongs here: which of a column's forms this database has, creating the views and keeping what they were made from.
Statements write and read through them with the rights of the views' owner; docs/your-database.md.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import psycopg2

from litgo_pipelines.database import Cursor, sql
from litgo_pipelines.marketplace.mapping import (
    Form,
    MappingError,
    SourceMapping,
    SourceTable,
    parse,
    quoted,
    unusable_view,
    view_statements,
)
from litgo_pipelines.marketplace.proposal import column_sql, conversion
from litgo_pipelines.marketplace.schema import FAMILIES, OPTIONAL, OTHER_TEXTS, SOURCE_SCHEMA, TABLES, TYPES, WRITTEN
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
    bases: dict[str, str] = field(default_factory=dict)  # the same without domains, by their names in the catalogue

    def statements(self) -> list[str]:
        return view_statements(self.table, self.chosen, self.types)


@dataclass(frozen=True)
class Fit:
    """A mapping held against a database: `problems` are lines for a person, `tables` is complete when there is none.

    `passed_over`: optional columns that are there and do not serve → a line that says why and what follows.
    """

    mapping: SourceMapping
    tables: dict[str, FittedTable]
    problems: list[str]
    passed_over: dict[str, str] = field(default_factory=dict)

    def absent(self) -> list[str]:
        """A line for each optional column that there is nothing of."""
        return [
            self.passed_over.get(f"{name}.{column}", f"{name}.{column} is not there: {OPTIONAL[f'{name}.{column}']}")
            for name, fitted in self.tables.items()
            for column, form in fitted.chosen.items()
            if form.absent
        ]

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
    tables, problems, passed_over = {}, [], {}
    for name, table in mapping.tables.items():
        cursor.execute("SELECT to_regclass(%s)::oid", (table.quoted,))
        relation = one(cursor)[0]
        if relation is None:
            problems.append(f"{mapping.name}, line {table.line}: {name}: there is no table {'.'.join(table.relation)}")
            continue
        cursor.execute(_COLUMNS, (relation,))
        kinds = {column: Kind(*rest) for column, *rest in cursor.fetchall()}
        if refused := _refused(cursor, f"SELECT FROM {table.source} LIMIT 0"):
            what = f"{name}.where is refused" if table.where else f"{name}: {'.'.join(table.relation)} cannot be read"
            problems.append(f"{mapping.name}, line {table.line}: {what}: {refused}")
            continue
        table = replace(table, may_lack_ids=not all(kinds[key].filled for key in table.keys if key in kinds))
        chosen = {}
        for column, forms in table.forms.items():
            chosen[column], found = _first_fitting(cursor, table, column, forms, kinds)
            if chosen[column].absent and found:
                passed_over[f"{name}.{column}"] = (
                    f"{name}.{column} is not read, since {'; '.join(found)}. Until then {OPTIONAL[f'{name}.{column}']}"
                )
            else:
                problems += [f"{mapping.name}, line {forms[0].line}: {name}.{column}: {problem}" for problem in found]
        types = {column: kind.type for column, kind in kinds.items()}
        bases = {column: kind.base for column, kind in kinds.items()}
        tables[name] = FittedTable(table, {column: chosen[column] for column in TABLES[name]}, types, bases)
    return Fit(mapping, tables, problems, passed_over)


_BASE_TYPE = sql("litgo_pipelines.marketplace", "base_type.sql")
_COLUMNS = _BASE_TYPE.format(
    name="a.attname, format_type(a.atttypid, -1), ",  # without its length: a cast to char, which is char(1), cuts
    more=", a.attnotnull AND c.relkind IN ('r', 'p'), coalesce(o.collisdeterministic, true)",
    source="pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid "
    "LEFT JOIN pg_collation o ON o.oid = a.attcollation",
    condition="a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped",
)


@dataclass(frozen=True)
class Kind:
    """What a column of theirs is. `base`, `sort`: name and pg_type.typtype of its type, or of that under a domain."""

    type: str  # in SQL
    base: str
    sort: str
    filled: bool = True  # never null
    plain: bool = True  # compared character by character

    @property
    def other_text(self) -> bool:
        return self.base in OTHER_TEXTS or not self.plain


Kinds = dict[str, Kind]  # by column


def _first_fitting(
    cursor: Cursor, table: SourceTable, column: str, forms: tuple[Form, ...], kinds: Kinds
) -> tuple[Form, list[str]]:
    """(form, problems); no problem when one form fits, and for null only those of columns that are there."""
    problems: list[str] = []
    for form in forms:
        if form.absent:
            there = [problem for problem, tried in zip(problems, forms, strict=False) if tried.column in kinds]
            return form, there
        problem = _misfit(cursor, table, column, form, kinds)
        if problem is None:
            kind = kinds.get(form.column or "")
            text = TABLES[table.name][column] == "text" and kind is not None and kind.other_text
            return replace(form, as_text=text), []
        problems.append(problem)
    return forms[0], problems


def _misfit(cursor: Cursor, table: SourceTable, column: str, form: Form, kinds: Kinds) -> str | None:
    """Why a form does not serve here; None when it does."""
    if form.column is not None and form.column not in kinds:
        return f"{'.'.join(table.relation)} has no column {form.column}"
    family = TABLES[table.name][column]
    if form.column is not None:
        named, kind, sort = form.column, kinds[form.column].base, kinds[form.column].sort
        if form.values:
            return None if family == "text" else f"values of {family} cannot be translated: write {{sql: …}}"
        if kind in OTHER_TEXTS and family == "text":
            return None
    else:
        named = "the expression"
        # Within CASE no set of rows, beside the row no aggregate: each row has one value.
        trial = f"SELECT CASE WHEN true THEN {form.expression()} END, t FROM {table.source} LIMIT 0"
        if refused := _refused(cursor, trial):
            return f"the expression is refused: {refused}"
        cursor.execute(f"SELECT {form.expression()} FROM {table.source} LIMIT 0")
        oid = cursor.description[0].type_code if cursor.description else None
        cursor.execute(_BASE_TYPE.format(name="", more="", source="pg_type t", condition="t.oid = %s"), (oid,))
        kind, sort = one(cursor)
    if kind in FAMILIES[family]:
        return None
    if sort == "e" and family == "text":
        return (
            f"{named} is the enum {kind}: write {{column: …, values: {{ours: theirs}}}}, "
            "or {sql: t.…::text} where it is only read"
        )
    advice = _advice(table, column, form.column, family, kind)
    return f"{named} is {kind}, expected {family} ({'/'.join(sorted(FAMILIES[family]))})" + (advice and f": {advice}")


def _advice(table: SourceTable, column: str, theirs: str | None, family: str, kind: str) -> str:
    """What to do about a column of theirs, or an expression, of a type that does not serve; empty for nothing."""
    if family == "point" and kind in ("geography", "geometry"):
        place = f"t.{quoted(theirs)}::geometry" if theirs else "…"
        return f"{{sql: point(st_x({place}), st_y({place}))}}, each name with the schema that PostGIS is in"
    zone = ", or whichever zone it is kept in" if (family, kind) == ("instant", "timestamp") else ""
    if theirs is None:
        return f"end it with AT TIME ZONE 'UTC'{zone}" if zone else ""
    altered = f"ALTER TABLE {table.quoted} ALTER {quoted(theirs)} TYPE"
    written = any(column in columns for columns in WRITTEN[table.name].values())
    if told := conversion(f"{table.name}.{column}", kind, quoted(theirs) if written else column_sql(theirs)):
        if not written:
            return f"{{sql: {json.dumps(told, ensure_ascii=False)}}}{zone}"
        return f"{altered} {'numeric' if family == 'number' else TYPES[family]} USING {told}{zone}"
    if family == "json" and kind in FAMILIES["text"]:
        return f"{altered} jsonb USING {quoted(theirs)}::jsonb where each is JSON"
    if family != "uuid":
        return ""
    added = f"add a uuid column {'that is unique' if column == 'id' else 'of that row'} and name it"
    texts = f"{altered} uuid USING {quoted(theirs)}::uuid where each is one, else {added}"
    return texts if kind in FAMILIES["text"] else added


def _refused(cursor: Cursor, query: str) -> str | None:
    """What the server says against a query; None when it takes it."""
    try:
        with savepoint(cursor):
            cursor.execute(query)
    except psycopg2.Error as error:
        return _first_line(error)
    return None


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


def is_table(cursor: Cursor, table: SourceTable) -> bool:
    """Whether a column can be added: a view takes none, and to a foreign table one that its server does not have."""
    cursor.execute("SELECT relkind IN ('r', 'p') FROM pg_class WHERE oid = to_regclass(%s)", (table.quoted,))
    return bool(one(cursor)[0])


def out_of_step(cursor: Cursor, mapping: SourceMapping) -> list[tuple[str, str]]:
    """(view, what happened) where a view reads a table or a column that no longer has the name the mapping says.

    A view follows the table and the columns it was made on, as "make a new one, rename both" leaves them behind. Of a
    column that matters where a new one has the name, which nobody would read, or where what we write by the name would
    fail.
    """
    relations = [(name, *table.relation) for name, table in mapping.tables.items()]
    cursor.execute(
        sql("litgo_pipelines.marketplace", "columns_read.sql"), [list(part) for part in zip(*relations, strict=True)]
    )
    problems = []
    for name, read, triggers in cursor.fetchall():
        table = mapping.tables[name]
        theirs = ".".join(table.relation)
        if not any(read.values()):
            problems.append((name, f"another table has the name {theirs} since the view was made"))
            continue
        forms = [form for each in table.forms.values() for form in each]
        words = "\n".join(filter(None, (table.where, *(form.sql for form in forms))))
        named = {form.column for form in forms}
        firsts = (next((one.column for one in each if one.column in read), None) for each in table.forms.values())
        if triggers or any(column is not None and not read[column] for column in firsts):
            problems += [
                (name, f"{theirs}.{column} had another name when the view was made")
                for column, is_read in read.items()
                if is_read and column not in named and not _names(words, column)
            ]
    return problems


def _names(words: str, column: str) -> bool:
    """Whether SQL has the name of a column, in whichever letters: without quotation marks they mean the same."""
    name = re.escape(column.replace('"', '""'))
    return re.search(rf"(?<![\w$]){name}(?![\w$])", words, re.IGNORECASE) is not None


def up_to_date(cursor: Cursor, mapping: SourceMapping) -> bool:
    """Whether the views that are there were made from this mapping and its tables. Needs no right but to read."""
    cursor.execute("SELECT to_regclass('litgo.source_mapping') IS NOT NULL")
    if not one(cursor)[0]:
        return False
    cursor.execute(
        "SELECT m.text, m.rendering_sha256, (SELECT count(*) FROM pg_class WHERE relkind = 'v' "
        "AND relnamespace = to_regnamespace(%s) AND relname = ANY(%s)) FROM litgo.source_mapping m",
        (SOURCE_SCHEMA, [*TABLES, *EXPORTED, UNUSABLE.split(".")[1]]),
    )
    same = cursor.fetchone() == (mapping.text, rendering_sha256(), len(TABLES) + len(EXPORTED) + 1)
    return same and not out_of_step(cursor, mapping)


@cache
def rendering_sha256() -> str:
    """Of what this version makes of the packaged mappings: another one makes the views anew."""
    fits = [
        Fit(
            mapping,
            {name: FittedTable(table, _first_forms(table), _Text()) for name, table in mapping.tables.items()},
            [],
        )
        for mapping in map(load, packaged())
    ]
    text = ";\n".join(statement for each in fits for statement in each.statements())
    return hashlib.sha256(text.encode()).hexdigest()


def _first_forms(table: SourceTable) -> dict[str, Form]:
    return {column: table.forms[column][0] for column in TABLES[table.name]}


class _Text(dict[str, str]):
    """Every column is a text."""

    def __missing__(self, column: str) -> str:
        return "text"


def create(cursor: Cursor, fitted: Fit) -> None:
    """Make the views anew and keep what they were made from; grants on them are the caller's to give again."""
    make(cursor, fitted)
    cursor.execute(
        "INSERT INTO litgo.source_mapping (name, text, views_sha256, rendering_sha256) VALUES (%s, %s, %s, %s) "
        "ON CONFLICT (singleton) DO UPDATE SET name = excluded.name, text = excluded.text, "
        "views_sha256 = excluded.views_sha256, rendering_sha256 = excluded.rendering_sha256, made_at = now()",
        (fitted.mapping.name, fitted.mapping.text, fitted.digest(), rendering_sha256()),
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
    return f"CREATE VIEW {SOURCE_SCHEMA}.{name} AS SELECT {selected} FROM {fitted.table.source}"


def _first_line(error: psycopg2.Error) -> str:
    """The server's sentence, which is about the mapping and no row."""
    return str(getattr(error, "primary", None) or error).strip().split("\n")[0]


def one(cursor: Cursor) -> tuple:
    """The next row of an answer that has one."""
    row = cursor.fetchone()
    if row is None:
        raise LookupError("the database answered no row")
    return row
