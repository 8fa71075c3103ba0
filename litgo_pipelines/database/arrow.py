"""Query results as Arrow columns, by COPY: no row ever becomes a Python object."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


@contextmanager
def stream(
    cursor: Any, query: str, parameters: Mapping[str, Any], types: Mapping[str, "pa.DataType"]
) -> Iterator[Iterator["pa.RecordBatch"]]:
    """Record batches of `query` while the server still sends them; memory bounded by a few batches.

    `types` names every column in order. An empty text is null. Raises what the database raised, at the latest when the
    block ends: a stream that broke off is never taken for a short result.
    """
    import pyarrow.csv as csv

    copy = f"COPY ({cursor.mogrify(query, parameters).decode()}) TO STDOUT (FORMAT csv)"
    read, write = os.pipe()
    failures: list[BaseException] = []

    def pump() -> None:
        with os.fdopen(write, "wb", buffering=1 << 20) as sink:
            try:
                cursor.copy_expert(copy, sink, size=1 << 18)
            except BrokenPipeError:
                pass  # the reader stopped early; its own error is the one to see
            except BaseException as error:
                failures.append(error)

    thread = threading.Thread(target=pump, name="copy", daemon=True)
    thread.start()
    try:
        with os.fdopen(read, "rb", buffering=1 << 20) as source:
            yield _batches(csv, source, types)
    except BaseException as error:
        thread.join()
        if failures:
            raise failures[0] from error
        raise
    thread.join()
    if failures:
        raise failures[0]


def _batches(csv: Any, source: Any, types: Mapping[str, "pa.DataType"]) -> Iterator["pa.RecordBatch"]:
    import pyarrow as pa

    try:
        reader = csv.open_csv(
            source,
            read_options=csv.ReadOptions(column_names=list(types), block_size=8 << 20),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=dict(types),
                null_values=[""],
                strings_can_be_null=True,
                true_values=["t"],
                false_values=["f"],
            ),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV file" in str(error):  # a query without rows sends no byte
            return
        raise
    yield from reader


def read(cursor: Any, query: str, parameters: Mapping[str, Any], types: Mapping[str, "pa.DataType"]) -> "pa.Table":
    """The whole result as one table."""
    import pyarrow as pa

    with stream(cursor, query, parameters, types) as batches:
        return pa.Table.from_batches(batches, schema=pa.schema(list(types.items())))
