"""Tombstones: digests of what is erased, in the database and in files beside it, so that no restored backup brings
anybody back.
"""

import json
import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from litgo_pipelines.database import Connection, Cursor, in_transaction

FILE = "tombstones.jsonl"


def add(cursor: Cursor, digests: Iterable[tuple[str, bytes]], at: datetime) -> None:
    """Write (kind, digest); what is there stays."""
    from psycopg2.extras import execute_values

    rows = [(digest, kind, at) for kind, digest in digests]
    if rows:
        execute_values(
            cursor,
            "INSERT INTO litgo.tombstones (digest, kind, erased_at) VALUES %s ON CONFLICT DO NOTHING",
            rows,
        )


def keep(connection: Connection, folders: Sequence[Path]) -> None:
    """Bring the lists in the folders up to what the database has; a line that was cut off is no line."""

    def work(cursor: Cursor) -> list[tuple[str, bytes, datetime]]:
        cursor.execute("SELECT kind, digest, erased_at FROM litgo.tombstones ORDER BY erased_at, digest")
        return [(kind, bytes(digest), at) for kind, digest, at in cursor.fetchall()]

    rows = in_transaction(connection, work)
    for folder in folders:
        if not folder.is_dir():
            continue
        there = {digest for _, digest, _ in read(folder)}
        new = [
            json.dumps({"kind": kind, "digest": digest.hex(), "erased_at": at.isoformat()}) + "\n"
            for kind, digest, at in rows
            if digest not in there
        ]
        if new:
            descriptor = os.open(folder / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "a", encoding="utf-8") as file:
                file.write("\n" + "".join(new))  # begins anew after a line that was cut off
                file.flush()
                os.fsync(file.fileno())


def read(folder: Path) -> list[tuple[str, bytes, datetime]]:
    """(kind, digest, erased at) of a folder's list; empty without one."""
    try:
        lines = (folder / FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
            found.append(
                (str(entry["kind"]), bytes.fromhex(entry["digest"]), datetime.fromisoformat(entry["erased_at"]))
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return found


def take_in(connection: Connection, folders: Sequence[Path]) -> int:
    """Write the folders' lists into the database, as after a restore; how many were new."""

    def work(cursor: Cursor) -> int:
        cursor.execute("SELECT count(*) FROM litgo.tombstones")
        before = (cursor.fetchone() or (0,))[0]
        for folder in folders:
            for kind, digest, at in read(folder):
                add(cursor, [(kind, digest)], at)
        cursor.execute("SELECT count(*) FROM litgo.tombstones")
        return int((cursor.fetchone() or (0,))[0] - before)

    return in_transaction(connection, work)
