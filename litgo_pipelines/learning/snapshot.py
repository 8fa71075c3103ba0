"""Training snapshot: one streamed pass from Postgres into a Parquet file named by its content.

What a row is stands in `snapshot_view.sql` and `snapshot_rows.sql`; reading and checking the file:
`training_data.py`.
"""

import contextlib
import errno
import os
import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litgo_pipelines.database import Cursor, sql
from litgo_pipelines.database.arrow import stream
from litgo_pipelines.learning.retrain import matured_reviews
from litgo_pipelines.models.features import KEYS
from litgo_pipelines.models.training_data import SCHEMA_VERSION, file_schema, file_sha256

if TYPE_CHECKING:
    import pyarrow as pa

PACKAGE = "litgo_pipelines.learning"
_BLOCK_BYTES = 16 << 20  # CSV text parsed at a time: bounds memory, and is one Parquet row group
_ABANDONED_SECONDS = 24 * 3600


class DiskFull(RuntimeError):
    """The snapshot did not fit; nothing of it is left."""


@dataclass(frozen=True)
class Snapshot:
    """A finished file and what the database said about it."""

    path: Path
    sha256: str
    rows: int
    cases: int
    training_cases: int
    excluded: dict[str, int]  # reason → offers
    watermark: datetime | None


def prepare(cursor: Cursor, as_of: datetime, holdout_share: float) -> tuple[str, dict[str, Any]]:
    """Freeze what is seen and define the view; returns the query of the rows and what was counted.

    Must be the first statement of a transaction. `holdout_share` of the cases, the newest, are held out (at least one
    case as soon as there are two).
    """
    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")  # counts, rows and watermark of one moment
    cursor.execute("SET LOCAL work_mem = '128MB'")  # the one sort of all rows
    cursor.execute(sql(PACKAGE, "snapshot_view.sql"), {"as_of": as_of})
    cursor.execute(
        "SELECT excluded, count(*), CASE WHEN excluded IS NULL THEN count(DISTINCT case_id) END "
        "FROM judged_offers GROUP BY excluded ORDER BY excluded"
    )
    counts = cursor.fetchall()
    cases = next((found for reason, _, found in counts if reason is None), 0)
    held_out = min(max(round(cases * holdout_share), 1), max(cases - 1, 0))
    _, watermark = matured_reviews(cursor, as_of)
    features = ", ".join(
        # A value that is not a number is missing, not a reason to lose the whole snapshot.
        f"CASE jsonb_typeof(features -> '{key}') WHEN 'number' "
        f"THEN litgo.number((features -> '{key}')::numeric) END AS \"{key}\""
        for key in KEYS
    )
    query = cursor.mogrify(
        sql(PACKAGE, "snapshot_rows.sql").replace("{features}", features),
        {"as_of": as_of, "training_cases": cases - held_out},
    ).decode()
    return query, {
        "cases": cases,
        "training_cases": cases - held_out,
        "excluded": {reason: number for reason, number, _ in counts if reason is not None},
        "watermark": watermark,
    }


def write_snapshot(cursor: Cursor, as_of: datetime, holdout_share: float, folder: Path) -> Snapshot:
    """Write the snapshot as of `as_of` to `folder`/<sha256>.parquet, in the transaction of `cursor`.

    Rows are streamed in blocks, so memory does not grow with them. The file appears under its name complete or not at
    all; the same data give the same file. Raises DiskFull, or what the database raised; the partial file is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    query, counts = prepare(cursor, as_of, holdout_share)
    partial = folder / f".partial-{uuid.uuid4().hex}"
    try:
        rows = _stream(cursor, query, partial, as_of, counts["watermark"])
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        sha256 = file_sha256(partial)
        path = folder / f"{sha256}.parquet"
        os.replace(partial, path)
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in str(error):
            raise DiskFull(
                f"no room for the training snapshot: {error.strerror or error}; free space where LITGO_HOME is, "
                "or point it elsewhere, and run the step again"
            ) from error
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
    return Snapshot(path=path, sha256=sha256, rows=rows, **counts)


def _stream(cursor: Cursor, query: str, path: Path, as_of: datetime, watermark: datetime | None) -> int:
    """The query's rows into a Parquet file, block by block; returns their number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 0
    schema = file_schema().with_metadata(
        {
            "litgo.schema_version": str(SCHEMA_VERSION),
            "litgo.as_of": as_of.isoformat(),
            "litgo.watermark": watermark.isoformat() if watermark else "",
        }
    )
    with (
        stream(cursor, query, _copy_columns(), _BLOCK_BYTES) as batches,
        pq.ParquetWriter(path, schema, compression="zstd") as writer,
    ):
        for batch in batches:
            writer.write_table(pa.Table.from_arrays(_file_columns(batch), schema=schema))
            rows += batch.num_rows
    return rows


def _file_columns(batch: "pa.RecordBatch") -> "list[pa.Array]":
    """A block of rows as arrays in the order of the file's columns; the state is worked out from the place."""
    import pyarrow as pa

    from litgo_pipelines.marketplace.geo import nearest_state

    place = [batch.column(name).to_numpy(zero_copy_only=False) for name in ("lat", "lng")]
    states = pa.array(nearest_state(*place).tolist(), pa.string())
    arrays = {name: batch.column(name) for name in batch.schema.names} | {"uf": states}
    return [arrays[field.name].cast(field.type) for field in file_schema()]


def _copy_columns() -> "dict[str, pa.DataType]":
    """Column → Arrow type of the CSV, in the order of `snapshot_rows.sql`."""
    import pyarrow as pa

    fields = {field.name: field.type for field in file_schema() if field.name not in ("uf", "new_lawyer")}
    return fields | {"lng": pa.float64(), "lat": pa.float64(), "new_lawyer": pa.bool_()}


def _remove_abandoned(folder: Path) -> None:
    """Partial files of killed runs. A day old: nobody is writing them any more."""
    for partial in folder.glob(".partial-*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > _ABANDONED_SECONDS:
                partial.unlink()
