"""Whether a table's row security hides rows from the source views: no rows are then taken for there being none."""

from collections.abc import Sequence

from litgo_pipelines.database import Cursor, sql


def hidden(cursor: Cursor, relations: Sequence[str] = ()) -> list[str]:
    """One sentence per table that shows the views' owner only what policies allow; empty when nothing is hidden.

    `relations`: quoted tables that views would be made on, looked at as this user while there are none.
    """
    cursor.execute(sql("litgo_pipelines.marketplace", "row_security.sql"), {"relations": list(relations)})
    return [
        f"row security of {table} applies to {reader}, who reads it for the pipelines, and no policy shows every row: "
        + (
            f"it is forced on its owner; as superuser: ALTER ROLE {reader} BYPASSRLS, or ALTER TABLE {table} "
            "NO FORCE ROW LEVEL SECURITY"
            if forced
            else f"run `litgo migrate` as the table's owner, or as superuser: ALTER ROLE {reader} BYPASSRLS"
        )
        for table, reader, forced in cursor.fetchall()
    ]
