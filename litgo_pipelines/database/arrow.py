"""Query results as Arrow columns, by COPY: no row ever becomes a Python object."""

import io
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from typing import TYPE_CHECKING, cast

from litgo_pipelines.database import Connection, Cursor, watch

if TYPE_CHECKING:
    import pyarrow as pa
    from _typeshed import ReadableBuffer


def read(
    cursor: Cursor, query: str, parameters: Mapping[str, object], types: Mapping[str, "pa.DataType"]
) -> "pa.Table":
    """The whole result as one table; `types` names every column in order."""
    import pyarrow as pa

    with stream(cursor, cursor.mogrify(query, parameters).decode(), types) as batches:
        return pa.Table.from_batches(batches, schema=pa.schema(list(types.items())))


@contextmanager
def stream(
    cursor: Cursor, query: str, types: Mapping[str, "pa.DataType"], block_bytes: int = 8 << 20
) -> Iterator[Iterator["pa.RecordBatch"]]:
    """Record batches of `query` (complete SQL) while the server still sends them; memory bounded by a few blocks.

    Raises what the database raised, at the latest when the block ends: a stream that broke off is never taken for a
    short result.
    """
    with _copied(cursor, query) as source:
        yield _batches(source, types, block_bytes)


class _Pipe(io.FileIO):
    """The pipe's end that is written to; while the reader is slow nothing is to be heard from the server."""

    def __init__(self, end: int, connection: Connection) -> None:
        super().__init__(end, "w")
        self.connection = connection

    def write(self, data: "ReadableBuffer") -> int:
        with watch.resting(self.connection):
            return super().write(data)


@contextmanager
def _copied(cursor: Cursor, query: str) -> Iterator[BufferedReader]:
    """The query's rows as a CSV stream. Raises what the database raised, whatever the reader made of it."""
    read_end, write_end = os.pipe()
    failures: list[BaseException] = []

    def copy() -> None:
        try:
            with io.BufferedWriter(_Pipe(write_end, cursor.connection), 1 << 20) as sink:
                cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT csv)", sink)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=copy, name="copy", daemon=True)
    source = cast(BufferedReader, os.fdopen(read_end, "rb", buffering=1 << 20))
    thread.start()
    try:
        yield source
    except BaseException as error:
        thread.join(timeout=1)
        if failures:  # the database broke off, and what the reader saw is only the consequence
            raise failures[0] from error
        watch.cancel(cursor.connection)  # the reader gave up
        source.close()
        thread.join()
        raise
    source.close()
    thread.join()
    if failures:
        raise failures[0]


def _batches(
    source: BufferedReader, types: Mapping[str, "pa.DataType"], block_bytes: int
) -> Iterator["pa.RecordBatch"]:
    import pyarrow as pa
    import pyarrow.csv as csv

    if not source.peek(1):  # Arrow refuses an empty CSV; a query without rows sends no byte
        return
    yield from csv.open_csv(
        pa.PythonFile(source, mode="r"),
        read_options=csv.ReadOptions(column_names=list(types), block_size=block_bytes),
        convert_options=csv.ConvertOptions(
            column_types=dict(types),
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
        parse_options=csv.ParseOptions(newlines_in_values=True),  # a text may hold anything
    )
