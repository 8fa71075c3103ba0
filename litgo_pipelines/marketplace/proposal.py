"""Proposed mapping: for each logical column what a marketplace most likely means by it. Pure.

From the relations that are there, their columns' types and names, and the labels of enums; what a known mapping has
that fits is kept. The proposal is text in the form `mapping.py` reads, for a person to check.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from litgo_pipelines.marketplace import other_names
from litgo_pipelines.marketplace.mapping import Form, quoted, relation_text
from litgo_pipelines.marketplace.schema import FAMILIES, OPTIONAL, OTHER_TEXTS, TABLES, VALUES, WRITTEN
from litgo_pipelines.marketplace.words import folded

SIMILAR = 0.72  # of names: below, two columns have nothing to do with each other
_NO_JSONB = (
    r"\\u0000|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
# type of a column that says of a row whether, or when, it was deleted → what it holds of one that was not
_DELETED = {**dict.fromkeys(("timestamptz", "timestamp", "date"), "IS NULL"), "bool": "IS NOT TRUE"}
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_YAML_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


@dataclass(frozen=True)
class TheirTable:
    """A table of theirs. `columns`: name → base type; `labels`: of columns whose values are few.

    `triggers`: those that run with the rights of whoever writes.
    """

    schema: str
    name: str
    columns: Mapping[str, str]
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    triggers: Sequence[str] = ()


@dataclass(frozen=True)
class ProposedTable:
    """`forms`: what each logical column would be; None where nothing serves. `guessed`: those that no mapping had."""

    relation: tuple[str, str]
    forms: Mapping[str, Form | None]
    guessed: frozenset[str]
    where: str | None = None
    owner_writes: bool = False


def similarity(ours: str, theirs: str, others: Iterable[str] = ()) -> float:
    """1 for the same name, whatever its accents and capitals; a known other name is nearly as good."""
    wanted, given = _plain(ours), _plain(theirs)
    if wanted == given:
        return 1.0
    best = _alike(wanted, given)
    for rank, other in enumerate(others):
        best = max(best, 0.98 - 0.01 * rank if _plain(other) == given else 0.9 * _alike(_plain(other), given))
    return best


def _alike(one: str, other: str) -> float:
    return 0.95 * SequenceMatcher(None, one, other).ratio()


def _plain(name: str) -> str:
    """Small letters without accents, words joined by underscores: `criadoEm` is `criado_em`."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", folded(parted)).strip("_")


def place_tables(tables: Sequence[TheirTable], fixed: Mapping[str, tuple[str, str]]) -> dict[str, TheirTable]:
    """Which table of theirs is which logical table; `fixed`: those that are known. Each is taken once."""
    by_name = {(table.schema, table.name): table for table in tables}
    found = {ours: by_name[relation] for ours, relation in fixed.items() if relation in by_name}
    taken = {(table.schema, table.name) for table in found.values()}
    scored = sorted(
        (
            (score, ours, (table.schema, table.name))
            for ours in TABLES
            if ours not in found
            for table in tables
            if (score := _table_score(ours, table)) >= SIMILAR
        ),
        reverse=True,
    )
    for _, ours, relation in scored:
        if ours not in found and relation not in taken:
            found[ours] = by_name[relation]
            taken.add(relation)
    return found


def _table_score(ours: str, table: TheirTable) -> float:
    """By its name, and by how many of the columns that must be there it has under some name."""
    needed = [column for column in TABLES[ours] if f"{ours}.{column}" not in OPTIONAL]
    there = sum(
        any(similarity(column, theirs, other_names.COLUMNS.get(column, ())) >= 0.9 for theirs in table.columns)
        for column in needed
    )
    return 0.7 * similarity(ours, table.name, other_names.TABLES[ours]) + 0.3 * there / len(needed)


def propose_table(
    ours: str, table: TheirTable, kept: Mapping[str, Form], where: str | None = None, owner_writes: bool = False
) -> ProposedTable:
    """`kept`: the forms of a known mapping that serve here."""
    forms: dict[str, Form | None] = dict(kept)
    open_columns = [column for column in TABLES[ours] if column not in kept]
    taken = {form.column for form in kept.values() if form.column}
    candidates = sorted(
        (
            (score, column, theirs)
            for column in open_columns
            for theirs in table.columns
            if theirs not in taken
            if (score := similarity(column, theirs, other_names.COLUMNS.get(column, ()))) >= SIMILAR
        ),
        reverse=True,
    )
    for _, column, theirs in candidates:
        if column not in forms and theirs not in taken and (form := _serving(ours, column, table, theirs)):
            forms[column] = form
            taken.add(theirs)
    for column in open_columns:
        forms.setdefault(column, Form(0) if f"{ours}.{column}" in OPTIONAL else None)
    writes = owner_writes or (bool(table.triggers) and bool(WRITTEN[ours]))
    guessed = frozenset(column for column in open_columns if (form := forms[column]) and not form.absent)
    return ProposedTable((table.schema, table.name), forms, guessed, where or not_deleted(table.columns), writes)


def not_deleted(columns: Mapping[str, str]) -> str | None:
    """SQL of the rows that are there, where a column says which were deleted; `columns`: name → base type."""
    for name in other_names.DELETED:
        for theirs, kind in columns.items():
            if _plain(theirs) == name and kind in _DELETED:
                return f"{column_sql(theirs)} {_DELETED[kind]}"
    return None


def column_sql(theirs: str) -> str:
    """SQL of a column of the row t as a person would write it: in quotation marks only where it needs them."""
    return f"t.{theirs if _PLAIN.fullmatch(theirs) else quoted(theirs)}"


def _serving(ours: str, column: str, table: TheirTable, theirs: str) -> Form | None:
    """A form in which this column of theirs has the type that is needed; None where there is none."""
    family, kind, name = TABLES[ours][column], table.columns[theirs], f"{ours}.{column}"
    written = any(column in columns for columns in WRITTEN[ours].values())
    if name in VALUES and theirs in table.labels:
        values = _translated(name, table.labels[theirs])
        if any(mine != their for mine, their in values):
            return Form(0, column=theirs, values=values)
    if kind in FAMILIES[family] or (family == "text" and kind in OTHER_TEXTS):
        return Form(0, column=theirs)
    if family == "text" and theirs in table.labels:  # an enum whose labels are ours, or of no table of ours
        if not written:
            return Form(0, sql=f"{column_sql(theirs)}::text")
        return Form(0, column=theirs, values=tuple((label, label) for label in table.labels[theirs]))
    return Form(0, sql=sql) if not written and (sql := conversion(name, kind, column_sql(theirs))) else None


def conversion(name: str, kind: str, value: str) -> str | None:
    """SQL that makes what `table.column` needs of a value of the type `kind`; None where nothing does."""
    table, column = name.split(".")
    family = TABLES[table][column]
    conversions = {
        # what has no uuid has one computed, where nothing is written or looked up by it
        ("uuid", kind if name == "reviews.id" else ""): f"md5('{table} ' || {value})::uuid",
        # numbers as texts, arrays of enums or citext
        **{("text", other): f"{value}::text" for other in (*FAMILIES["number"], "uuid")},
        **{("text[]", array): f"{value}::text[]" for array in [kind] if array.startswith("_")},
        ("instant", "timestamp"): f"{value} AT TIME ZONE 'UTC'",
        ("instant", "date"): f"CASE WHEN {value} < '9999-01-01' "
        f"THEN {value}::timestamp AT TIME ZONE 'America/Sao_Paulo' END",
        # jsonb takes no \\u0000 and no half of a pair: such a value counts as absent
        ("json", "json"): f"CASE WHEN {value}::text !~ '{_NO_JSONB}' THEN {value}::jsonb END",
        ("text[]", "jsonb"): f"CASE WHEN jsonb_typeof({value}) = 'array' "
        f"THEN ARRAY(SELECT jsonb_array_elements_text(CASE WHEN jsonb_typeof({value}) = 'array' "
        f"THEN {value} END)) END",
        ("text[]", "text"): f"string_to_array({value}, ',')",
        ("text[]", "varchar"): f"string_to_array({value}, ',')",
        **{
            ("boolean", text): f"upper(btrim({value})) IN ('S', 'SIM', 'T', 'TRUE', 'Y', 'YES', '1')"
            for text in ("text", "varchar", "bpchar")
        },
        **{
            # decimals behind a comma, as Brazil writes them
            ("number", text): f"CASE WHEN {value} ~ '^[ ]*-?[0-9]{{1,15}}([.,][0-9]{{1,15}})?[ ]*$' "
            f"THEN replace({value}, ',', '.')::numeric END"
            for text in ("text", "varchar", "bpchar")
        },
        ("number", "money"): f"{value}::numeric",
        **{("boolean", number): f"{value} <> 0" for number in FAMILIES["number"]},
    }
    return conversions.get((family, kind))


def _translated(name: str, labels: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(ours, theirs) of each label that means a value of ours, in the order of ours."""
    pairs, left = [], list(labels)
    for ours in VALUES[name]:
        others = other_names.VALUES[name].get(ours, ())
        scored = [(similarity(ours, label, others), label) for label in left]
        score, label = max(scored, default=(0.0, ""))
        if score >= 0.85:
            pairs.append((ours, label))
            left.remove(label)
    return tuple(pairs)


def render(tables: Mapping[str, ProposedTable], heading: str) -> str:
    """The mapping file. What was guessed says so; where nothing serves, our own name stands, which is refused later."""
    lines = [f"# {line}".rstrip() for line in heading.split("\n")]
    for name in TABLES:
        table = tables.get(name)
        lines += ["", f"{name}:"]
        if table is None:
            lines.append(f"  table: public.{name}  # not found: say where it is")
            forms: Mapping[str, Form | None] = dict.fromkeys(TABLES[name])
            guessed: frozenset[str] = frozenset()
        else:
            forms, guessed = table.forms, table.guessed
            lines.append(f"  table: {_scalar(relation_text(table.relation))}")
            if table.where:
                lines.append(f"  where: {json.dumps(table.where, ensure_ascii=False)}")
            if table.owner_writes:
                lines.append("  write_as: owner  # triggers of theirs run with the rights of the table's owner")
        lines.append("  columns:")
        lines += [
            f"    {column}: {_written(column, forms[column])}{_comment(name, column, forms[column], guessed)}"
            for column in TABLES[name]
        ]
    return "\n".join(lines) + "\n"


def _written(column: str, form: Form | None) -> str:
    if form is None:
        return column
    if form.absent:
        return "null"
    if form.sql is not None:
        return f"{{sql: {json.dumps(form.sql, ensure_ascii=False)}}}"
    if not form.values:
        return _scalar(form.column or "")
    values = ", ".join(f"{_scalar(ours)}: {_scalar(theirs)}" for ours, theirs in form.values)
    return f"{{column: {_scalar(form.column or '')}, values: {{{values}}}}}"


def _scalar(text: str) -> str:
    plain = re.fullmatch(r"[a-z_][a-z0-9_.-]*", text) and text not in _YAML_WORDS
    return text if plain else json.dumps(text, ensure_ascii=False)


def _comment(table: str, column: str, form: Form | None, guessed: frozenset[str]) -> str:
    if form is None:
        return "  # not found: name the column that holds it"
    if form.absent:
        return f"  # {OPTIONAL[f'{table}.{column}']}"
    return "  # a guess: check it" if column in guessed else ""
