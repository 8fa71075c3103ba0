"""Access through the source views: rows that policies hide, and rights that are missing."""

from collections.abc import Sequence

import psycopg2

from litgo_pipelines.database import SCHEMA, Cursor, error_kind, sql
from litgo_pipelines.marketplace import views
from litgo_pipelines.marketplace.attempts import NOT_GENERATED, said
from litgo_pipelines.marketplace.mapping import SourceMapping
from litgo_pipelines.marketplace.schema import SOURCE_SCHEMA, TABLES, WRITTEN


def hidden(cursor: Cursor, relations: Sequence[str] = ()) -> list[tuple[str, str]]:
    """(view, sentence) of tables that show the views' owner only what policies allow, or take no writes of some rows;
    empty when nothing is hidden.

    No rows would be taken for there being none. `relations`: quoted tables that views would be made on, looked at as
    this user while there are none.
    """
    cursor.execute(sql("litgo_pipelines.marketplace", "row_security.sql"), {"relations": list(relations)})
    found: dict[tuple[str, str], str] = {}
    for view, table, reader, forced, verb in cursor.fetchall():
        # what is made for /metrics reads the same tables
        if not (relations or view in TABLES) or (verb != "SELECT" and verb not in WRITTEN.get(view, {})):
            continue
        does, lacks = ("reads", "shows") if verb == "SELECT" else ("writes", f"lets it {verb}")
        found.setdefault(
            (view, table),
            f"row security of {table} applies to {reader}, who {does} it for the pipelines, and no policy {lacks} "
            "every row: "
            + (
                f"it is forced on its owner; as superuser: ALTER ROLE {reader} BYPASSRLS, or ALTER TABLE {table} "
                "NO FORCE ROW LEVEL SECURITY"
                if forced
                else f"run `litgo migrate` as the table's owner, or as superuser: ALTER ROLE {reader} BYPASSRLS"
            ),
        )
    return [(view, sentence) for (view, _), sentence in found.items()]


def closed(cursor: Cursor) -> str | None:
    """A sentence when row security of our own tables hides their rows from this user; None when it does not.

    Some databases switch it on for every new table, by an event trigger, or for all tables once a day.
    """
    cursor.execute(
        "SELECT count(*), min(relname) FROM pg_class WHERE relnamespace = to_regnamespace(%s) "
        "AND relkind IN ('r', 'p') AND row_security_active(oid)",
        (SCHEMA,),
    )
    number, one = cursor.fetchone() or (0, None)
    if not number:
        return None
    return (
        f"row security is on for {number:,} of the tables in {SCHEMA} (one of them: {one}), which hides their rows "
        "from the pipelines: run `litgo migrate` as their owner, which switches it off there; grants say who reads them"
    )


def repeated(cursor: Cursor, mapping: SourceMapping, *, of_views: bool = True) -> list[tuple[str, str]]:
    """(view, sentence) of tables in which an id stands for several rows; empty when each is one.

    Only looked at where no unique index of theirs says so. `of_views`: in the views, else in what those would read.
    """
    found = []
    for name, table in mapping.tables.items():
        cursor.execute(
            sql("litgo_pipelines.marketplace", "unique_ids.sql"),
            {"schema": table.relation[0], "table": table.relation[1], "keys": table.keys},
        )
        if cursor.fetchone() is not None and len(table.keys) == len(table.logical_keys):
            continue
        theirs = (table.forms[key][0].expression() for key in table.logical_keys)
        keys = ", ".join(table.logical_keys if of_views else theirs)
        source = f"{SOURCE_SCHEMA}.{name}" if of_views else table.source
        cursor.execute(
            f"SELECT count(*), min(one) FROM (SELECT min(concat_ws(':', {keys})) AS one FROM {source} "
            f"GROUP BY {keys} HAVING count(*) > 1) several"
        )
        number, one = cursor.fetchone() or (0, None)
        if number:
            found.append(
                (
                    name,
                    f"{number:,} ids of {name} stand for more than one row (one of them: {one}), and nothing can be "
                    f"written or counted by them: let {'.'.join(table.relation)} show each once, or name another table "
                    "in the mapping",
                )
            )
    return found


def unreadable(cursor: Cursor) -> list[tuple[str, str]]:
    """(view, sentence) of tables that give no row at all: a foreign table whose server is away, a materialized view
    that was never filled, a function of theirs that is not there."""
    found = []
    for name in TABLES:
        try:
            with views.savepoint(cursor):
                cursor.execute(f"SELECT * FROM {SOURCE_SCHEMA}.{name} LIMIT 1")
        except psycopg2.DataError:
            continue  # of a row: `raising` looks for it
        except psycopg2.Error as error:
            if cursor.connection.closed:
                raise
            found.append((name, f"{name} cannot be read: {error}"))
    return found


def subscribed(cursor: Cursor, relations: Sequence[str]) -> list[str]:
    """A sentence for each of the quoted tables that is a copy, filled by logical replication: what is written to one
    stays there, and nobody says so."""
    cursor.execute(
        "SELECT n.nspname || '.' || c.relname FROM unnest(%s::text[]) AS name JOIN pg_subscription_rel s "
        "ON s.srrelid = to_regclass(name) JOIN pg_class c ON c.oid = s.srrelid JOIN pg_namespace n "
        "ON n.oid = c.relnamespace ORDER BY 1",
        (list(relations),),
    )
    return [
        f"{table} is a copy that logical replication fills: what the pipelines write there never reaches the "
        "marketplace, and may stop the replication: use the database that it comes from"
        for (table,) in cursor.fetchall()
    ]


def raising(cursor: Cursor, mapping: SourceMapping) -> list[tuple[str, str]]:
    """(view, sentence) of columns whose expression in the mapping fails for some row: every statement would with it."""
    found = []
    for name, table in mapping.tables.items():
        computed = [column for column, forms in table.forms.items() if any(form.sql for form in forms)]
        if computed and _fails(cursor, name, computed) is not None:
            found += [
                (
                    name,
                    f"{name}.{column}: the mapping's expression fails for some row ({why}), and every statement would "
                    "fail with it: let it give null for what it cannot take (CASE WHEN … THEN … END)",
                )
                for column in computed
                if (why := _fails(cursor, name, [column])) is not None
            ]
    return found


def _fails(cursor: Cursor, table: str, columns: Sequence[str]) -> str | None:
    """The kind of error that reading the columns of every row ends with; None for none."""
    try:
        with views.savepoint(cursor):
            cursor.execute(f"SELECT {', '.join(f'count({column})' for column in columns)} FROM {table}")
    except psycopg2.DataError as error:
        return error_kind(error)
    return None


def unwritable(cursor: Cursor, mapping: SourceMapping) -> list[tuple[str, str]]:
    """(view, sentence) of columns that are written, and that the marketplace computes or its views do not take."""
    wanted = [
        (name, column, *table.relation, form.column, verb == "INSERT")
        for name, table in mapping.tables.items()
        for verb, columns in WRITTEN[name].items()
        for column in columns
        for form in table.forms[column]
        if form.column is not None
    ]
    cursor.execute(
        sql("litgo_pipelines.marketplace", "unwritable.sql"), [list(part) for part in zip(*wanted, strict=True)]
    )
    found = {
        (name, column): f"{relation} computes {theirs}, which the pipelines write: {NOT_GENERATED}"
        if computed
        else f"the view {relation} takes nothing that is written to {theirs}: name its table in the mapping, or give "
        "it an INSTEAD OF trigger"
        for name, column, relation, theirs, computed in cursor.fetchall()
    }
    for name, column, inserted in dict.fromkeys((name, column, inserted) for name, column, *_, inserted in wanted):
        if (name, column) not in found and (why := _unplanned(cursor, name, column, inserted)) is not None:
            found[name, column] = why
    return [(name, f"{name}.{column}: {why}") for (name, column), why in found.items()]


def _unplanned(cursor: Cursor, table: str, column: str, inserted: bool) -> str | None:
    """What the server says against planning a write of the column, through views of theirs as well; None for nothing.

    Of a column that is computed behind a view, or a right that the views' owner lost. Triggers of ours are not asked.
    """
    write = f"INSERT INTO {table} ({column}) TABLE empty" if inserted else f"UPDATE {table} SET {column} = {column}"
    try:
        with views.savepoint(cursor):
            cursor.execute(f"EXPLAIN WITH empty AS (SELECT {column} FROM {table}) {write}")
    except psycopg2.Error as error:
        if cursor.connection.closed:
            raise
        return said(error)
    return None


def refused(cursor: Cursor) -> list[tuple[str, str]]:
    """(view, sentence) of rights on the source views that this user lacks; views that are not there aside."""
    wanted = [(table, column, "SELECT") for table, columns in TABLES.items() for column in columns]
    wanted += [
        (table, column, verb)
        for table, verbs in WRITTEN.items()
        for verb, columns in verbs.items()
        for column in columns
    ]
    cursor.execute(
        sql("litgo_pipelines.marketplace", "refused_rights.sql"),
        (*(list(part) for part in zip(*wanted, strict=True)), f"{SOURCE_SCHEMA}."),
    )
    return cursor.fetchall()
