"""Erasure of a client or a lawyer: tombstones first, traces outside our schema, then our rows in one transaction.

The order makes it safe to be killed anywhere: ids are only needed until the rows go, and those go last. A request that
was cut off is open, and whoever comes next, or the night, goes on with it.
"""

import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from litgo_pipelines.database import Connection, Cursor, advisory_lock, in_transaction, session_lock
from litgo_pipelines.experiments.store import LOCK as EXPERIMENTS
from litgo_pipelines.intake.batch import LOCK as TRIAGE
from litgo_pipelines.matching.batch import LOCK as MATCHING
from litgo_pipelines.persons import keys as found
from litgo_pipelines.persons import tombstones, traces
from litgo_pipelines.persons.held import CONSIDERED, FORGET_CONSIDERED, FORGET_SETS, HELD
from litgo_pipelines.persons.keys import LOCK, Keys
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.settings import settings


@dataclass(frozen=True)
class Places:
    """What an erasure looks into besides our schema. mlflow: None where its files are under `home`."""

    home: Path
    triage_models: Path
    databases: tuple[str, ...] = ()  # URLs of Dagster's and MLflow's
    lists: tuple[Path, ...] = ()  # folders that keep the tombstones besides the database
    mlflow: MLflow | None = None
    compute_logs: str | None = None  # s3://bucket/prefix, where they are not under `home`


@dataclass
class Erased:
    """`removed`: place → rows or files. `shown`: the marketplace still has the person."""

    request_id: int
    removed: dict[str, int] = field(default_factory=dict)
    shown: bool = False


def places(
    home: Path,
    triage_models: Path,
    mlflow: MLflow | None,
    backups: Path | None = None,
    databases: Sequence[str] | None = None,
) -> Places:
    """Those of this environment: `litgo up` keeps MLflow's files under LITGO_HOME, where no server is needed."""
    names = ("DAGSTER_DATABASE_URL", "LITGO_MLFLOW_DATABASE_URL")
    return Places(
        home,
        triage_models,
        tuple(databases or (os.environ[name] for name in names if os.environ.get(name))),
        tuple(folder for folder in (home, backups) if folder),
        None if (home / "mlflow-artifacts").is_dir() else mlflow,
        settings().litgo_compute_logs,
    )


def erase(connection: Connection, person: str, asked_by: str, where: Places, at: datetime) -> Erased:
    """Erase all we hold about a person; again, or after a kill: what is left. `connection`: in no transaction.

    Raises NoPerson, and MLflowUnavailable when its files could not be searched: then the request stays open.
    """
    person_id = found.person(person)
    return _erase(connection, person_id, lambda cursor: found.of_person(cursor, person_id), asked_by, where, at)


def erase_keys(connection: Connection, wanted: Keys, asked_by: str, where: Places, at: datetime) -> Erased:
    """The same for what the marketplace has deleted, or what came back from a backup."""
    subject = wanted.ids[0] if wanted.ids else str(UUID(int=0))
    return _erase(connection, subject, lambda cursor: wanted, asked_by, where, at)


def _erase(
    connection: Connection,
    subject: str,
    gather: Callable[[Cursor], Keys],
    asked_by: str,
    where: Places,
    at: datetime,
) -> Erased:
    with session_lock(connection, LOCK):
        result, key = in_transaction(connection, lambda cursor: _begin(cursor, subject, asked_by, at))
        wanted = in_transaction(connection, lambda cursor: _bury(cursor, gather(cursor), key, at))
        tombstones.keep(connection, where.lists)
        _traces(connection, wanted, key, where, result.removed)
        # Beside these two nobody writes rows of a case; what comes later is met by its tombstone at night.
        with session_lock(connection, TRIAGE), session_lock(connection, MATCHING):
            in_transaction(
                connection, lambda cursor: _rows(cursor, _bury(cursor, gather(cursor), key, at), key, result, at)
            )
    return result


def _begin(cursor: Cursor, subject: str, asked_by: str, at: datetime) -> tuple[Erased, bytes]:
    """The person's open request with its key; a new one where there is none."""
    cursor.execute(
        "INSERT INTO litgo.person_requests (kind, subject, asked_by, asked_at) VALUES ('erase', %s, %s, %s) "
        "ON CONFLICT (subject) WHERE kind = 'erase' AND done_at IS NULL DO NOTHING",
        (found.digest(subject), asked_by, at),
    )
    cursor.execute(
        "SELECT request_id FROM litgo.person_requests WHERE subject = %s AND kind = 'erase' AND done_at IS NULL",
        (found.digest(subject),),
    )
    (request_id,) = cursor.fetchone() or (0,)
    cursor.execute(
        "INSERT INTO litgo.pseudonym_keys (request_id, key, made_at) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (request_id, secrets.token_bytes(32), at),
    )
    cursor.execute("SELECT key FROM litgo.pseudonym_keys WHERE request_id = %s", (request_id,))
    (key,) = cursor.fetchone() or (b"",)
    return Erased(int(request_id)), bytes(key)


def _bury(cursor: Cursor, wanted: Keys, key: bytes, at: datetime) -> Keys:
    """Tombstones of what goes, and of the pseudonyms: the marketplace never shows those, and must not be asked."""
    tombstones.add(cursor, wanted.digests(), at)
    tombstones.add(cursor, (("pseudonym", found.digest(pseudonym(key, one))) for one in wanted.ids), at)
    return wanted


def _traces(connection: Connection, wanted: Keys, key: bytes, where: Places, removed: dict[str, int]) -> None:
    gone = frozenset(wanted.ids)
    pseudonyms = {one: pseudonym(key, one) for one in gone}
    removed["snapshots"] = traces.snapshots(connection, where.home / "snapshots", gone.__contains__)
    removed["classifiers"] = traces.classifiers(connection, where.triage_models)
    removed["files"] = traces.files(where.home, pseudonyms)
    if where.compute_logs:
        removed["logs of steps"] = traces.compute_logs(where.compute_logs, pseudonyms)
    if where.mlflow is not None and _registered(connection):
        removed["MLflow files"] = traces.mlflow_artifacts(where.mlflow, pseudonyms)
    for url in where.databases:
        removed["rows of Dagster and MLflow"] = removed.get("rows of Dagster and MLflow", 0) + traces.foreign_rows(
            url, pseudonyms
        )


def _registered(connection: Connection) -> bool:
    """Whether MLflow has ever been given anything."""

    def work(cursor: Cursor) -> bool:
        cursor.execute("SELECT EXISTS (SELECT FROM litgo.retrainings WHERE mlflow_run_id IS NOT NULL)")
        return bool((cursor.fetchone() or (False,))[0])

    return in_transaction(connection, work)


def _rows(cursor: Cursor, wanted: Keys, key: bytes, result: Erased, at: datetime) -> None:
    advisory_lock(cursor, EXPERIMENTS)
    values = wanted.parameters()
    if wanted.persons:
        cursor.execute(f"{FORGET_CONSIDERED} WHERE {CONSIDERED}", values)
        result.removed["matchings, as a candidate"] = int(cursor.rowcount)
        cursor.execute(FORGET_SETS, values)
        result.removed["candidate sets"] = int(cursor.rowcount)
    for table, held in HELD.items():
        if held.erase is not None:
            cursor.execute(f"{held.erase} WHERE {held.where}", values)
            result.removed[table] = int(cursor.rowcount)
    cursor.execute(
        "SELECT place, changed FROM litgo.pseudonymise(%(key)s, %(persons)s::uuid[], %(cases)s::uuid[], "
        "%(contracts)s::uuid[])",
        {**values, "key": key},
    )
    result.removed.update({f"{place}, pseudonymised": int(changed) for place, changed in cursor.fetchall()})
    cursor.execute(
        "SELECT EXISTS (SELECT FROM profiles WHERE id = ANY(%(persons)s::uuid[])) "
        "OR EXISTS (SELECT FROM lawyers WHERE id = ANY(%(persons)s::uuid[])) "
        "OR EXISTS (SELECT FROM cases WHERE client_id = ANY(%(persons)s::uuid[]))",
        values,
    )
    (result.shown,) = cursor.fetchone() or (False,)
    cursor.execute(
        "UPDATE litgo.person_requests SET done_at = %s, removed = %s WHERE request_id = %s",
        (at, json.dumps({name: number for name, number in result.removed.items() if number}), result.request_id),
    )


def pseudonym(key: bytes, subject: str) -> str:
    """As litgo.pseudonym."""
    return str(UUID(bytes=sha256(key + UUID(subject).bytes).digest()[:16]))


def text(result: Erased) -> str:
    """What a person at the terminal reads, in Portuguese."""
    removed: Mapping[str, int] = {name: number for name, number in result.removed.items() if number}
    lines = [f"pedido {result.request_id}: {sum(removed.values())} registros e arquivos apagados ou anonimizados"]
    lines += [f"  {name}: {number}" for name, number in removed.items()]
    if result.shown:
        lines.append(
            "o marketplace ainda mostra esta pessoa: apague-a lá também; até então, o que for gravado de novo é "
            "apagado a cada noite"
        )
    return "\n".join(lines)
