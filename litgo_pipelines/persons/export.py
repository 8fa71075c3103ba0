"""Export of everything we hold about a client or a lawyer, as one JSON file that only its owner may read."""

import base64
import json
import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from litgo_pipelines.database import Connection, Cursor, in_transaction, session_lock, sql
from litgo_pipelines.persons import keys as found
from litgo_pipelines.persons.held import CONSIDERED, HELD
from litgo_pipelines.persons.keys import LOCK, PACKAGE, Keys

# What the marketplace shows the pipelines of them: theirs to keep, and read by us.
_SHOWN = {
    "profiles": "t.id = ANY(%(persons)s::uuid[])",
    "lawyers": "t.id = ANY(%(persons)s::uuid[])",
    "cases": "t.id = ANY(%(cases)s::uuid[])",
    "case_matches": "t.case_id = ANY(%(cases)s::uuid[]) OR t.lawyer_id = ANY(%(persons)s::uuid[])",
    "offers": "t.id = ANY(%(offers)s::uuid[])",
    "contracts": "t.id = ANY(%(contracts)s::uuid[])",
    "reviews": "t.id = ANY(%(reviews)s::uuid[])",
}


def export(connection: Connection, person: str, asked_by: str, at: datetime, home: Path) -> dict[str, Any]:
    """Everything, by table, as it stood at one moment; the request is recorded. `connection`: in no transaction.

    An erasure that runs is waited for: half a person is no answer. Raises NoPerson, also for an id nobody knows.
    """
    person_id = found.person(person)

    def work(cursor: Cursor) -> dict[str, Any]:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        wanted = found.of_person(cursor, person_id)
        values = wanted.parameters()
        ours = {table: _rows(cursor, f"litgo.{table}", held.where, values) for table, held in HELD.items()}
        ours["matchings, as a candidate"] = _candidacies(cursor, values, wanted)
        ours["candidate_sets, as a candidate"] = _sets(cursor, values)
        theirs = {table: _rows(cursor, table, where, values) for table, where in _SHOWN.items()}
        if not any(ours.values()) and not any(theirs.values()):
            raise found.NoPerson(f"não há nada sobre {person_id}, nem aqui nem no marketplace")
        cursor.execute(
            "INSERT INTO litgo.person_requests (kind, subject, asked_by, asked_at, done_at) "
            "VALUES ('export', %s, %s, %s, %s) RETURNING request_id",
            (found.digest(person_id), asked_by, at, at),
        )
        (request_id,) = cursor.fetchone() or (0,)
        return {
            "titular": person_id,
            "pedido": request_id,
            "pedido_por": asked_by,
            "em": at.isoformat(),
            "guardado_pelos_pipelines": ours,
            "textos_lidos": _texts(cursor, values),
            "instantaneos_de_treino": _snapshots(home / "snapshots", wanted),
            "lido_do_marketplace": theirs,
        }

    with session_lock(connection, LOCK):
        return in_transaction(connection, work)


def write(path: Path, exported: dict[str, Any]) -> None:
    """One file, complete or absent, for its owner alone; a link in its place is replaced, not followed."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".partial-")  # no name that others could lay out for us
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(exported, file, ensure_ascii=False, indent=1, default=_plain)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def _rows(cursor: Cursor, table: str, where: str, values: Any) -> list[dict[str, Any]]:
    cursor.execute(f"SELECT t.* FROM {table} t WHERE {where}", values)
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _candidacies(cursor: Cursor, values: Any, wanted: Keys) -> list[dict[str, Any]]:
    """A lawyer's own entries in what was considered for the cases of others."""
    cursor.execute(
        "SELECT t.matched_at, e.entry FROM litgo.matchings t, jsonb_array_elements(t.considered) AS e (entry) "
        f"WHERE {CONSIDERED} AND e.entry ->> 'lawyer_id' = ANY(%(persons)s) ORDER BY 1",
        values,
    )
    return [{"matched_at": at, **entry} for at, entry in cursor.fetchall()]


def _sets(cursor: Cursor, values: Any) -> list[dict[str, Any]]:
    """When a lawyer was in a set of candidates; the cases are other people's."""
    cursor.execute(
        "SELECT t.matched_at FROM litgo.candidate_sets t WHERE t.lawyer_ids && %(persons)s::uuid[] ORDER BY 1", values
    )
    return [{"matched_at": at} for (at,) in cursor.fetchall()]


def _texts(cursor: Cursor, values: Any) -> list[dict[str, Any]]:
    cursor.execute(
        f"SELECT case_id, text, text_hash FROM ({sql(PACKAGE, 'texts.sql')}) s "
        "WHERE owner_id = ANY(%(persons)s::uuid[]) OR case_id = ANY(%(cases)s::uuid[])",
        values,
    )
    return [{"case_id": case, "text": text, "text_hash": hashed} for case, text, hashed in cursor.fetchall()]


def _snapshots(folder: Path, wanted: Keys) -> dict[str, list[dict[str, Any]]]:
    """Rows of the training snapshots: file → rows."""
    import pyarrow.parquet as pq

    rows: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.parquet")):
        either = [[("case_id", "in", set(wanted.cases))], [("lawyer_id", "in", set(wanted.persons))]]
        if mine := pq.read_table(path, filters=[part for part in either if part[0][2]]).to_pylist():
            rows[path.name] = mine
    return rows


def _plain(value: object) -> str:
    if isinstance(value, (bytes, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
