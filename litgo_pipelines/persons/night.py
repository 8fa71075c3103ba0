"""The night's work for the people in the data, in order. Knows the database and files, not Dagster."""

from datetime import datetime

from litgo_pipelines.database import Connection, Cursor, in_transaction
from litgo_pipelines.persons import erase, follow, keys, tombstones, traces
from litgo_pipelines.persons.erase import Places
from litgo_pipelines.persons.follow import Hidden as Hidden
from litgo_pipelines.persons.keys import Keys
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.settings import Settings

MARKETPLACE = "marketplace"  # who asks when it deletes
AGAIN = "tombstones"  # … and when something came back


def places_of(values: Settings, mlflow: MLflow) -> Places:
    """Where an erasure looks in this environment."""
    return erase.places(values.home, values.triage_models, mlflow, values.litgo_backup_folder)


def run(connection: Connection, where: Places, at: datetime) -> dict[str, int]:
    """What came back goes again, then what the marketplace deleted. Raises Hidden, and MLflowUnavailable."""
    figures = {"brought back, erased again": replay(connection, where, at)}

    def missing(cursor: Cursor) -> tuple[follow.Missing, Keys]:
        found = follow.look(cursor, at)
        return found, follow.followed(cursor, found)

    found, due = in_transaction(connection, missing)
    if due:
        done = erase.erase_keys(connection, due, MARKETPLACE, where, at)
        figures["rows and files of the deleted"] = sum(done.removed.values())
    for kind, ids in found.due.items():
        figures[f"deleted, {kind}"] = len(ids)
        figures[f"missed, {kind}"] = found.missed[kind]
    figures["rows of texts nobody has"] = in_transaction(connection, lambda cursor: follow.forget_texts(cursor, at))
    return figures


def replay(connection: Connection, where: Places, at: datetime) -> int:
    """Erase again what is held of the erased: after a restore, or because the marketplace still shows them."""
    tombstones.take_in(connection, where.lists)
    again, _ = in_transaction(connection, keys.erased_before)
    removed = 0
    if again:
        removed = sum(erase.erase_keys(connection, again, AGAIN, where, at).removed.values())
    buried = in_transaction(connection, _buried)
    return removed + traces.snapshots(connection, where.home / "snapshots", lambda one: _of(one) in buried)


def _buried(cursor: Cursor) -> frozenset[bytes]:
    cursor.execute("SELECT digest FROM litgo.tombstones WHERE kind NOT IN ('text', 'address')")
    return frozenset(bytes(digest) for (digest,) in cursor.fetchall())


def _of(one: str) -> bytes:
    """The digest of an id in a file; of what is none, one that nobody has."""
    try:
        return keys.digest(one)
    except ValueError:
        return b""
