"""Traces of erased ids outside our schema: snapshots, classifiers, logs, copies of models, Dagster's and MLflow's rows.

An id in a text becomes its pseudonym, of the same length, in place: a service that writes to the file goes on. Rows of
a snapshot go, and the file gets the name of its new content. All of it can be killed anywhere and done again.
"""

import gzip
import mmap
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from litgo_pipelines.database import Connection, Cursor, connect, in_transaction, session_lock
from litgo_pipelines.intake.batch import MODEL_LOCK
from litgo_pipelines.models.training_data import file_sha256
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable

UUID_TEXT = re.compile(rb"(?i)\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b")
EXAMPLES = frozenset({"input_example.json", "serving_input_example.json"})  # rows of a snapshot, shown with a model
READABLE = (".json", ".txt", ".md", ".csv", ".yaml", ".yml", ".log", ".parquet")
NOT_FILES = frozenset({"postgres", "backups"})  # the embedded server's own; a backup replays tombstones when restored
EXPORTS = "exports"
ROWS = 500  # ids in one pattern

Erased = Callable[[str], bool]
Pseudonym = Mapping[str, str]  # id → what stands in its place


def snapshots(connection: Connection, folder: Path, erased: Erased) -> int:
    """Training snapshots without the rows of erased cases and lawyers; how many files were written anew."""
    changed = 0
    for path in sorted(folder.glob("*.parquet")):
        new = without_rows(path, erased)
        if new is None:
            continue
        sha256 = file_sha256(new)
        target = folder / f"{sha256}.parquet"
        os.replace(new, target)
        values = {"old": path.stem, "new": sha256, "path": str(target.relative_to(folder.parent))}

        def renamed(cursor: Cursor, values: Mapping[str, str] = values) -> None:
            cursor.execute(
                "UPDATE litgo.retrainings SET snapshot_sha256 = %(new)s, snapshot_path = %(path)s "
                "WHERE snapshot_sha256 = %(old)s",
                values,
            )

        in_transaction(connection, renamed)
        path.unlink(missing_ok=True)
        changed += 1
    return changed


def without_rows(path: Path, erased: Erased) -> Path | None:
    """A temporary file beside it that lacks the rows; None when it has none of them."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    source = pq.ParquetFile(path)
    columns = [name for name in ("case_id", "lawyer_id") if name in source.schema_arrow.names]
    gone: set[str] = set()
    for batch in source.iter_batches(columns=columns):
        for name in columns:
            gone |= {one for one in pc.unique(batch.column(name)).to_pylist() if one and erased(str(one))}
    if not gone:
        return None
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
    os.close(handle)
    partial = Path(name)
    try:
        with pq.ParquetWriter(partial, source.schema_arrow, compression="zstd") as writer:
            for batch in source.iter_batches():
                keep = pa.array([True] * batch.num_rows)
                for column in columns:
                    values = batch.column(column)
                    keep = pc.and_(keep, pc.invert(pc.is_in(values, pa.array(sorted(gone), values.type))))
                writer.write_table(pa.Table.from_batches([batch.filter(keep)]))
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return partial


def classifiers(connection: Connection, folder: Path) -> int:
    """Classifiers that may have learned from an erased text go; the next triage trains one without it."""
    gone = 0
    with session_lock(connection, MODEL_LOCK):  # one that is being trained now has not seen the tombstone
        for path in folder.glob("*.npz"):
            path.unlink(missing_ok=True)
            gone += 1
    return gone


def files(home: Path, pseudonyms: Pseudonym) -> int:
    """Every file under LITGO_HOME but the database's own; how many were changed or removed."""
    changed = 0
    for path in _below(home):
        if path.name in EXAMPLES:
            path.unlink(missing_ok=True)
            changed += 1
        elif path.parent == home / EXPORTS:
            changed += _without(path, pseudonyms)
        elif path.suffix == ".gz":
            changed += _packed(path, pseudonyms)
        elif path.suffix == ".parquet":
            if path.parent != home / "snapshots" and without_rows_in_place(path, pseudonyms):
                changed += 1
        elif path.suffix != ".npz":
            changed += _in_place(path, pseudonyms)
    return changed


def _without(path: Path, pseudonyms: Pseudonym) -> int:
    """An export that names somebody says more of them than the id: it goes, and can be asked for again."""
    content = path.read_bytes()
    if replaced(content, pseudonyms) == content:
        return 0
    path.unlink(missing_ok=True)
    return 1


def compute_logs(place: str, pseudonyms: Pseudonym) -> int:
    """What steps printed, in S3-compatible storage: as `files`; how many objects were changed."""
    import boto3

    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    storage, changed = boto3.client("s3"), 0
    for page in storage.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
        for entry in page.get("Contents", ()):
            content = storage.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            new = replaced(content, pseudonyms)
            if new != content:
                storage.put_object(Bucket=bucket, Key=entry["Key"], Body=new)
                changed += 1
    return changed


def without_rows_in_place(path: Path, pseudonyms: Pseudonym) -> bool:
    """A copy of a snapshot, under the name it has."""
    new = without_rows(path, lambda one: one in pseudonyms)
    if new is not None:
        os.replace(new, path)
    return new is not None


def _below(home: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(home):
        if Path(root) == home:
            folders[:] = [name for name in folders if name not in NOT_FILES]
        for name in names:
            path = Path(root) / name
            if path.is_file() and not path.is_symlink():
                yield path


def replaced(content: bytes, pseudonyms: Pseudonym) -> bytes:
    """The text with the pseudonyms in place of the ids, however they are written."""

    def other(found: re.Match[bytes]) -> bytes:
        pseudonym = pseudonyms.get(found[0].decode().lower())
        return pseudonym.encode() if pseudonym else found[0]

    return UUID_TEXT.sub(other, content)


def _in_place(path: Path, pseudonyms: Pseudonym) -> int:
    if not path.stat().st_size:
        return 0
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        found = [
            (match.start(), pseudonyms[text])
            for match in UUID_TEXT.finditer(content)
            if (text := match[0].decode().lower()) in pseudonyms
        ]
        for at, pseudonym in found:
            content[at : at + len(pseudonym)] = pseudonym.encode()
    return int(bool(found))


def _packed(path: Path, pseudonyms: Pseudonym) -> int:
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError):  # none of ours, or cut off
        return 0
    new = replaced(content, pseudonyms)
    if new == content:
        return 0
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
    with os.fdopen(handle, "wb") as file:
        file.write(gzip.compress(new))
    os.replace(name, path)
    return 1


def foreign_rows(url: str, pseudonyms: Pseudonym) -> int:
    """Texts in the tables of Dagster's or MLflow's database; how many rows were changed."""
    changed = 0
    with connect(url, application_name="litgo-persons") as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.table_name, c.column_name FROM information_schema.columns c JOIN information_schema.tables t "
            "USING (table_schema, table_name) WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' "
            "AND c.data_type IN ('text', 'character varying') ORDER BY 1, 2"
        )
        places = cursor.fetchall()
        ids = sorted(pseudonyms)
        for first in range(0, len(ids), ROWS):
            pattern = "|".join(ids[first : first + ROWS])
            for table, column in places:
                changed += _foreign_column(cursor, table, column, pattern, pseudonyms)
    return changed


def _foreign_column(cursor: Cursor, table: str, column: str, pattern: str, pseudonyms: Pseudonym) -> int:
    from psycopg2 import sql as compose
    from psycopg2.extras import execute_values

    place = {"table": compose.Identifier("public", table), "column": compose.Identifier(column)}
    wanted = compose.SQL("SELECT ctid::text, {column} FROM {table} WHERE {column} ~* %s").format(**place)
    cursor.execute(wanted, (pattern,))
    rows = [(at, replaced(text.encode(), pseudonyms).decode(), text) for at, text in cursor.fetchall()]
    if rows:
        # a row that changed meanwhile has another place and is found again by the next look
        execute_values(
            cursor,
            compose.SQL(
                "UPDATE {table} t SET {column} = v.new FROM (VALUES %s) AS v (at, new, old) "
                "WHERE t.ctid = v.at::tid AND t.{column} = v.old"
            )
            .format(**place)
            .as_string(cursor),
            rows,
        )
    return len(rows)


def mlflow_artifacts(mlflow: MLflow, pseudonyms: Pseudonym) -> int:
    """Files of MLflow's runs and models, asked of its server; how many were changed or deleted.

    What lies in its trash lies on the disk. Raises MLflowUnavailable, at the end when it is one folder that cannot be
    searched: the erasure is not over then, and goes on with the next night.
    """
    mlflow.probe()
    module, changed = mlflow.module(), 0
    from mlflow.entities import ViewType

    failed: list[str] = []
    for experiment in module.search_experiments(ViewType.ALL):
        runs = module.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL, output_format="list")
        folders = {str(run.info.artifact_uri) for run in runs}
        try:
            folders |= _models(experiment.artifact_location)
            for folder in sorted(folders):
                changed += _artifacts(folder, pseudonyms)
        except Exception as error:  # whatever its storage raises; the other experiments are searched
            failed.append(f"{experiment.name} ({type(error).__name__})")
    if failed:
        raise MLflowUnavailable(f"files of MLflow's experiments that cannot be searched: {', '.join(failed)}")
    return changed


def _models(experiment: str) -> set[str]:
    """Folders of the models below an experiment's: MLflow lists none that was deleted, and keeps its files."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    found = get_artifact_repository(experiment).list_artifacts("models")
    return {f"{experiment.rstrip('/')}/{entry.path}" for entry in found if entry.path.startswith("models/m-")}


def _artifacts(uri: str, pseudonyms: Pseudonym) -> int:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(uri)
    changed, folders = 0, [""]
    while folders:
        for entry in repository.list_artifacts(folders.pop() or None):
            name = entry.path.rsplit("/", 1)[-1]
            if entry.is_dir:
                folders.append(entry.path)
            elif name in EXAMPLES:
                repository.delete_artifacts(entry.path)
                changed += 1
            elif name.endswith(READABLE) and not name.startswith("model-"):
                with tempfile.TemporaryDirectory() as folder:
                    local = Path(repository.download_artifacts(entry.path, folder))
                    if name.endswith(".parquet"):
                        touched = without_rows_in_place(local, pseudonyms)
                    else:
                        touched = bool(_in_place(local, pseudonyms))
                    if touched:
                        repository.log_artifact(str(local), entry.path.rpartition("/")[0] or None)
                        changed += 1
    return changed
