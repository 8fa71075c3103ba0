"""Generator of database/columns.json: `litgo exec -- python -m litgo_pipelines.tools.columns_file`.

Dagster's pages show the columns of our tables before anything ran, so that the definitions need them without a
connection. They are read from a migrated database.
"""

import json
import os
from pathlib import Path

from litgo_pipelines.database import Cursor, connect

FILE = Path(__file__).parents[1] / "database" / "columns.json"


def read(cursor: Cursor) -> str:
    """A line per column: a change of the tables is readable in the file's history."""
    cursor.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    tables = [
        f"  {json.dumps(table)}: [\n"
        + ",\n".join(f"    {json.dumps(column, ensure_ascii=False)}" for column in columns)
        + "\n  ]"
        for table, columns in cursor.fetchall()
    ]
    return "{\n" + ",\n".join(tables) + "\n}\n"


if __name__ == "__main__":
    with connect(os.environ["LITGO_DATABASE_URL"]) as connection, connection.cursor() as cursor:
        FILE.write_text(read(cursor), encoding="utf-8")
