"""Access through the source views: rows that policies hide, and rights that are missing."""

from collections.abc import Sequence

from litgo_pipelines.database import Cursor, sql
from litgo_pipelines.marketplace.schema import SOURCE_SCHEMA, TABLES, WRITTEN


def hidden(cursor: Cursor, relations: Sequence[str] = ()) -> list[tuple[str, str]]:
    """(view, sentence) of tables that show the views' owner only what policies allow; empty when nothing is hidden.

    No rows would be taken for there being none. `relations`: quoted tables that views would be made on, looked at as
    this user while there are none.
    """
    cursor.execute(sql("litgo_pipelines.marketplace", "row_security.sql"), {"relations": list(relations)})
    return [
        (
            view,
            f"row security of {table} applies to {reader}, who reads it for the pipelines, and no policy shows every "
            "row: "
            + (
                f"it is forced on its owner; as superuser: ALTER ROLE {reader} BYPASSRLS, or ALTER TABLE {table} "
                "NO FORCE ROW LEVEL SECURITY"
                if forced
                else f"run `litgo migrate` as the table's owner, or as superuser: ALTER ROLE {reader} BYPASSRLS"
            ),
        )
        for view, table, reader, forced in cursor.fetchall()
        if relations or view in TABLES  # what is made for /metrics reads the same tables
    ]


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
