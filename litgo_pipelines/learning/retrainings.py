"""Retrainings as rows of `litgo.retrainings`, filled step by step, so that a rerun resumes after a kill.

The row is keyed by the root of the Dagster run: a re-execution from failure continues its root's row. Every function
works inside the caller's transaction.
"""

from datetime import datetime
from typing import Any, NamedTuple

from litgo_pipelines.database import Cursor
from litgo_pipelines.database.values import as_json
from litgo_pipelines.observability.metrics import add, count

COLUMNS = (
    "as_of",
    "snapshot_path",
    "snapshot_sha256",
    "snapshot",
    "watermark",
    "candidate_key",
    "bundle_path",
    "candidate",
    "mlflow_run_id",
    "mlflow_version",
    "evaluation",
)


class StepMissing(RuntimeError):
    """An earlier step of the retraining has not finished; the message names it."""


class Retraining(NamedTuple):
    """What is known of one retraining so far. Paths are relative to LITGO_HOME."""

    root_run_id: str
    as_of: datetime
    snapshot_path: str | None = None
    snapshot_sha256: str | None = None
    snapshot: dict[str, Any] | None = None
    watermark: datetime | None = None
    candidate_key: str | None = None
    bundle_path: str | None = None
    candidate: dict[str, Any] | None = None
    mlflow_run_id: str | None = None
    mlflow_version: str | None = None
    evaluation: dict[str, Any] | None = None

    def require(self, *columns: str) -> None:
        """Raises StepMissing when one of `columns` is still empty."""
        for column in columns:
            if getattr(self, column) is None:
                raise StepMissing(f"retraining {self.root_run_id} has no {column} yet: run its earlier steps first")


def begin(cursor: Cursor, root_run_id: str, as_of: datetime, reason: str = "manual") -> Retraining:
    """The row of this root run; created with `as_of` the first time and counted by reason (volume, manual), and kept as
    it is afterwards."""
    cursor.execute(
        "INSERT INTO litgo.retrainings (root_run_id, as_of) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        (root_run_id, as_of),
    )
    if cursor.rowcount:
        add(cursor, [count("retrainings_total", reason=reason)])
    return get(cursor, root_run_id)


def get(cursor: Cursor, root_run_id: str) -> Retraining:
    """Raises StepMissing when there is no such retraining."""
    cursor.execute(f"SELECT {', '.join(COLUMNS)} FROM litgo.retrainings WHERE root_run_id = %s", (root_run_id,))
    row = cursor.fetchone()
    if row is None:
        raise StepMissing(
            f"run {root_run_id} has not begun a retraining: run training_snapshot with it, or name the retraining to "
            "continue in the step's configuration (`retraining`)"
        )
    return Retraining(root_run_id, *row)


def begun(cursor: Cursor, root_run_id: str) -> bool:
    """Whether this root run has a row."""
    cursor.execute("SELECT FROM litgo.retrainings WHERE root_run_id = %s", (root_run_id,))
    return cursor.fetchone() is not None


def newest_with_snapshot(cursor: Cursor) -> str | None:
    """Root run of the newest retraining that wrote a snapshot."""
    cursor.execute(
        "SELECT root_run_id FROM litgo.retrainings WHERE snapshot_path IS NOT NULL "
        "ORDER BY started_at DESC, root_run_id LIMIT 1"
    )
    found = cursor.fetchone()
    return found[0] if found else None


def record_step(cursor: Cursor, root_run_id: str, **values: object) -> None:
    """Fill columns of the row; dictionaries become JSON. Raises StepMissing when the row is not there."""
    if unknown := set(values) - set(COLUMNS):
        raise ValueError(f"not columns of a retraining: {sorted(unknown)}")
    assignments = ", ".join(f"{column} = %({column})s" for column in values)
    parameters = {name: as_json(value) if isinstance(value, dict) else value for name, value in values.items()}
    cursor.execute(
        f"UPDATE litgo.retrainings SET {assignments} WHERE root_run_id = %(root_run_id)s",
        {**parameters, "root_run_id": root_run_id},
    )
    if cursor.rowcount != 1:
        raise StepMissing(f"no retraining {root_run_id} to record {', '.join(values)} of")


def pending_registrations(cursor: Cursor) -> list[str]:
    """Root runs whose trained model is not registered and evaluated yet, oldest first: MLflow was down, or a kill came.

    A retraining that is running at this moment is among them for a short while: a caller looks at its run first.
    """
    cursor.execute(
        "SELECT root_run_id FROM litgo.retrainings WHERE bundle_path IS NOT NULL AND evaluation IS NULL "
        "ORDER BY started_at, root_run_id"
    )
    return [root_run_id for (root_run_id,) in cursor.fetchall()]
