"""Mapping: where a marketplace keeps each logical column. Pure.

Read from YAML (`mappings/default.yaml` explains the forms), checked with line numbers, and rendered as SQL. Which of
several forms of a column a database has is found out by `views.py`.
"""

import re
from collections.abc import Iterable
from collections.abc import Mapping as Mapped
from dataclasses import dataclass

import yaml

from litgo_pipelines.marketplace import usable
from litgo_pipelines.marketplace.schema import OPTIONAL, SOURCE_SCHEMA, TABLES, TYPES, VALUES, WRITTEN

_RELATION = re.compile(r'("(?:[^"]|"")+"|[^".][^.]*)\.("(?:[^"]|"")+"|[^".][^.]*)')
# What a row that is written is found again by; every other table has an id.
_KEYS = {"case_matches": ("case_id", "lawyer_id")}


class MappingError(ValueError):
    """A mapping that cannot be used; the message names each line and what to do."""


@dataclass(frozen=True)
class Form:
    """One way to have a logical column: a column of theirs (with values translated), or an expression, or nothing."""

    line: int
    column: str | None = None
    sql: str | None = None
    values: tuple[tuple[str, str], ...] = ()  # (ours, theirs)
    as_text: bool = False  # a text that compares otherwise than ours: citext, a collation without case

    @property
    def absent(self) -> bool:
        return self.column is None and self.sql is None

    @property
    def plain(self) -> bool:
        """Whether it can be written through a view."""
        return self.column is not None and not self.values and not self.as_text

    def expression(self, row: str = "t.") -> str:
        """SQL over the row `t`, of an index over no named one; not for an absent column."""
        if self.sql is not None:
            return f"({self.sql}\n)"  # it may end with a comment
        column = f"{row}{quoted(self.column or '')}"
        if self.as_text:
            column = f'{column}::text COLLATE pg_catalog."default"'
        if not self.values:
            return column
        cases = " ".join(f"WHEN {literal(theirs)} THEN {literal(ours)}" for ours, theirs in self.values)
        return f"CASE {column if self.as_text else f'{column}::text'} {cases} ELSE {column}::text END"

    def theirs(self, ours: str) -> str:
        """SQL of the value to write for `ours`, an expression of type text."""
        if not self.values:
            return ours
        cases = " ".join(f"WHEN {literal(mine)} THEN {literal(their)}" for mine, their in self.values)
        return f"CASE {ours} {cases} ELSE {ours} END"


@dataclass(frozen=True)
class SourceTable:
    """Where one logical table is. `forms`: of each logical column those to try, in order."""

    name: str
    relation: tuple[str, str]  # schema, table
    forms: dict[str, tuple[Form, ...]]
    line: int
    where: str | None = None
    owner_writes: bool = False
    may_lack_ids: bool = False  # a row without one cannot be told from others: it is not there

    @property
    def logical_keys(self) -> tuple[str, ...]:
        """The logical columns that tell one row from another."""
        return _KEYS.get(self.name, ("id",))

    @property
    def keys(self) -> list[str]:
        """Theirs of the same; fewer where one is computed, which no written table's is."""
        return [column for one in self.logical_keys if (column := self.forms[one][0].column) is not None]

    @property
    def quoted(self) -> str:
        return ".".join(quoted(part) for part in self.relation)

    @property
    def source(self) -> str:
        """What follows FROM: the rows that are there, each called t."""
        return self._from([f"t.{quoted(key)} IS NOT NULL" for key in self.keys] if self.may_lack_ids else [])

    @property
    def all_rows(self) -> str:
        """The same with rows that have no id."""
        return self._from([])

    def _from(self, conditions: list[str]) -> str:
        parts = [f"({self.where}\n)"] * bool(self.where) + conditions  # a condition may end with a comment
        return f"{self.quoted} AS t" + ("\nWHERE " + " AND ".join(parts) if parts else "")


@dataclass(frozen=True)
class SourceMapping:
    name: str
    text: str
    tables: dict[str, SourceTable]


def parse(text: str, name: str) -> SourceMapping:
    """The mapping in `text`; `name` stands in messages. Raises MappingError with every problem found."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError:
        raise MappingError(f"{name}: nested too deeply to be a mapping") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        place = f", line {where.line + 1}" if where else ""
        raise MappingError(f"{name}{place}: not YAML: {getattr(error, 'problem', None) or 'unreadable'}") from None
    problems: list[tuple[int, str]] = []
    tables: dict[str, SourceTable] = {}
    for key, line, node in _entries(root, "the file", problems):
        if key not in TABLES:
            problems.append((line, f"{key!r} is no logical table: they are {', '.join(TABLES)}"))
        else:
            tables[key] = _table(key, line, node, problems)
    end = text.count("\n") + 1
    problems += [(end, f"the table {table} is missing: say where it is") for table in TABLES if table not in tables]
    if problems:
        raise MappingError("\n".join(f"{name}, line {line}: {problem}" for line, problem in sorted(problems)))
    return SourceMapping(name, text, tables)


def _entries(node: yaml.Node, what: str, problems: list[tuple[int, str]]) -> list[tuple[str, int, yaml.Node]]:
    """(key, line, value node) of a YAML table."""
    if not isinstance(node, yaml.MappingNode):
        problems.append((_line(node), f"{what} must be a table of names, like `id: id`"))
        return []
    found: dict[str, tuple[str, int, yaml.Node]] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            problems.append((_line(key), f"{what}: a name is expected before the colon"))
        elif key.value in found:
            problems.append((_line(key), f"{what}: {key.value} stands here twice: remove one"))
        else:
            found[key.value] = (key.value, _line(key), value)
    return list(found.values())


def _table(name: str, line: int, node: yaml.Node, problems: list[tuple[int, str]]) -> SourceTable:
    relation, where, owner_writes, forms = ("public", name), None, False, {}
    for key, at, value in _entries(node, name, problems):
        if key == "table":
            relation = _relation(name, value, problems)
        elif key == "columns":
            forms = _columns(name, value, problems)
        elif key == "where" and _is_text(value):
            where = value.value
        elif key == "write_as" and _is_text(value) and value.value == "owner":
            owner_writes = True
        else:
            problems.append(
                (
                    at,
                    f"{name}.{key}: expected table: schema.table, columns: …, where: an SQL condition over t, "
                    "or write_as: owner",
                )
            )
    problems += [
        (
            line,
            f"{name}.{column} is missing: name the column, an expression as {{sql: …}}"
            + (", or null" if f"{name}.{column}" in OPTIONAL else ""),
        )
        for column in TABLES[name]
        if column not in forms
    ]
    return SourceTable(name, relation, forms, line, where, owner_writes)


def _relation(name: str, node: yaml.Node, problems: list[tuple[int, str]]) -> tuple[str, str]:
    found = _RELATION.fullmatch(node.value) if _is_text(node) else None
    if found is None:
        problems.append(
            (
                _line(node),
                f"{name}.table: expected schema.table, like public.{name}; a name with a dot in quotation marks, like "
                f"'public.\"my.{name}\"'",
            )
        )
        return "public", name
    schema, table = (part[1:-1].replace('""', '"') if part.startswith('"') else part for part in found.groups())
    return schema, table


def relation_text(relation: tuple[str, str]) -> str:
    """As `table:` has it."""
    return ".".join(quoted(part) if "." in part or part.startswith('"') else part for part in relation)


def _columns(table: str, node: yaml.Node, problems: list[tuple[int, str]]) -> dict[str, tuple[Form, ...]]:
    forms: dict[str, tuple[Form, ...]] = {}
    for column, line, value in _entries(node, f"{table}.columns", problems):
        if column not in TABLES[table]:
            known = ", ".join(TABLES[table])
            problems.append((line, f"{table}.{column} is no logical column: they are {known}"))
            continue
        several = value.value if isinstance(value, yaml.SequenceNode) else [value]
        if not several:
            problems.append((line, f"{table}.{column}: an empty list: name a column, or null"))
        forms[column] = tuple(_form(table, column, one, problems) for one in several)
    return forms


def _form(table: str, column: str, node: yaml.Node, problems: list[tuple[int, str]]) -> Form:
    line, name = _line(node), f"{table}.{column}"
    written = any(column in columns for columns in WRITTEN[table].values())
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
        if name not in OPTIONAL:
            problems.append((line, f"{name} must be there: name the column that holds it"))
        return Form(line)
    if _is_text(node):
        return Form(line, column=node.value)
    parts = {key: value for key, _, value in _entries(node, name, problems)}
    if set(parts) == {"sql"} and _is_text(parts["sql"]):
        if written or (WRITTEN[table] and column in _KEYS.get(table, ("id",))):
            problems.append(
                (
                    line,
                    f"{name} is written or found by the pipelines, which an expression cannot take: name a column, "
                    "or {column: …, values: {ours: theirs}}",
                )
            )
        return Form(line, sql=parts["sql"].value)
    if set(parts) == {"column", "values"} and _is_text(parts["column"]):
        return Form(line, column=parts["column"].value, values=_values(name, parts["values"], problems))
    problems.append((line, f"{name}: expected a column's name, {{sql: …}}, {{column: …, values: …}}, a list, or null"))
    return Form(line, column=column)


def _values(name: str, node: yaml.Node, problems: list[tuple[int, str]]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for ours, line, value in _entries(node, f"{name}.values", problems):
        if name in VALUES and ours not in VALUES[name]:
            problems.append((line, f"{name}: {ours!r} is no value of ours: they are {', '.join(VALUES[name])}"))
        elif not _is_text(value):
            problems.append((line, f"{name}: {ours}: expected the marketplace's value, as text"))
        else:
            pairs.append((ours, value.value))
    theirs = [their for _, their in pairs]
    problems += [
        (_line(node), f"{name}: {their!r} stands for two values of ours: what is read would be unclear")
        for their in sorted({their for their in theirs if theirs.count(their) > 1})
    ]
    return tuple(pairs)


def _is_text(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and bool(node.value) and node.tag != "tag:yaml.org,2002:null"


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1 if node is not None else 1


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def view_statements(table: SourceTable, chosen: Mapped[str, Form], types: Mapped[str, str]) -> list[str]:
    """Statements that create the view of a table, with triggers where writing needs them.

    `chosen`: of each logical column; `types`: SQL types of the marketplace's columns. Absent columns are a null of
    `schema.TYPES`.
    """
    columns = ",\n".join(
        f"    {f'NULL::{TYPES[TABLES[table.name][column]]}' if form.absent else form.expression()} AS {column}"
        for column, form in chosen.items()
    )
    statements = [f"CREATE VIEW {SOURCE_SCHEMA}.{table.name} AS\nSELECT\n{columns}\nFROM {table.source}"]
    keys = {column: quoted(chosen[column].column or "") for column in _KEYS.get(table.name, ("id",))}
    for verb, names in WRITTEN[table.name].items():
        if table.owner_writes or not all(chosen[column].plain for column in names):
            there = {column: chosen[column] for column in names if not chosen[column].absent}
            statements += _writing_trigger(table, verb, keys, there, types)
    return statements


def unusable_view(tables: Iterable[tuple[SourceTable, Mapped[str, Form]]]) -> str:
    """The statement that creates the view of what counts as absent."""
    return usable.view_statement(
        (table.name, table.all_rows, {column: form.expression() for column, form in chosen.items() if not form.absent})
        for table, chosen in tables
    )


def _writing_trigger(
    table: SourceTable, verb: str, keys: Mapped[str, str], forms: Mapped[str, Form], types: Mapped[str, str]
) -> list[str]:
    """A function with its owner's rights that writes to the table what a row of the view says, and what calls it.

    `keys`: logical column → column of theirs. What is not in `forms` is nowhere and not written. Triggers of the
    marketplace look names up in the table's schema, as when the marketplace writes itself.
    """
    names = {column: quoted(form.column or "") for column, form in forms.items()}
    new = {column: f"({form.theirs(f'NEW.{column}')})::{types[form.column or '']}" for column, form in forms.items()}
    view = f"{SOURCE_SCHEMA}.{table.name}"
    found = " AND ".join(f"t.{theirs} = OLD.{ours}" for ours, theirs in keys.items())
    shown, made = (" AND ".join(f"v.{ours} = {row}.{ours}" for ours in keys) for row in ("OLD", "NEW"))
    if verb == "INSERT":
        work = f"INSERT INTO {table.quoted} ({', '.join(names.values())})\n    VALUES ({', '.join(new.values())});"
    elif not names:
        work = "NULL;"
    else:
        seen = ", ".join(f"v.{column}" for column in names)
        old = ", ".join(f"OLD.{column}" for column in names)
        assignments = ", ".join(f"{names[column]} = {new[column]}" for column in names)
        work = (
            f"PERFORM FROM {table.quoted} AS t WHERE {found} FOR UPDATE;\n"
            f"    IF NOT EXISTS (SELECT FROM {view} v\n"
            f"                   WHERE {shown} AND ROW ({seen}) IS NOT DISTINCT FROM ROW ({old})) THEN\n"
            "        RAISE EXCEPTION 'changed by another transaction' USING ERRCODE = 'serialization_failure';\n"
            f"    END IF;\n    UPDATE {table.quoted} AS t SET {assignments} WHERE {found};"
        )
    # A trigger of theirs may drop the row without a word; one that it changed is read as it is now.
    dropped = "    IF NOT FOUND THEN RETURN NULL; END IF;\n" if verb == "INSERT" or names else ""
    function = f"{SOURCE_SCHEMA}.{table.name}_{verb.lower()}"
    return [
        f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER\n"
        f"SET search_path = pg_catalog, {quoted(table.relation[0])}, pg_temp AS $write$\n"
        f"DECLARE seen {view}%ROWTYPE;\nBEGIN\n    {work}\n"
        f"{dropped}    SELECT * INTO seen FROM {view} v WHERE {made};\n"
        "    IF FOUND THEN RETURN seen; END IF;\n    RETURN NEW;\nEND $write$",
        f"REVOKE EXECUTE ON FUNCTION {function}() FROM PUBLIC",
        f"CREATE TRIGGER {table.name}_{verb.lower()} INSTEAD OF {verb} ON {view} "
        f"FOR EACH ROW EXECUTE FUNCTION {function}()",
    ]
