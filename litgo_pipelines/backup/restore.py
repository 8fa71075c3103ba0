"""A restoration: everything is looked at before anything is touched; then database by database, then the files.

Killed on the way it is run again. What was erased since the backup is erased again.
"""

import contextlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg2

from litgo_pipelines.backup import manifest as manifests
from litgo_pipelines.backup import postgres, sealed
from litgo_pipelines.backup.make import Databases, apart, places
from litgo_pipelines.backup.manifest import PARTS, BackupRefused, Manifest
from litgo_pipelines.database import SCHEMA, connect, open_connection, roles
from litgo_pipelines.marketplace.migrate import migrate, migrations
from litgo_pipelines.marketplace.schema import SOURCE_SCHEMA
from litgo_pipelines.persons import erase, night, tombstones

BESIDE = ("litgo-backup", "litgo-restore", "litgo-session")  # sessions of ours that may be there


@dataclass(frozen=True)
class Restored:
    """`erased`: rows and files of people who were erased after the backup was made."""

    manifest: Manifest
    migrated: list[str]
    erased: int


def restore(
    folder: Path,
    of: Databases,
    home: Path,
    secret: str,
    at: datetime,
    files: Mapping[str, Path] | None = None,
    *,
    older: bool = False,
    force: bool = False,
) -> Restored:
    """Raises BackupRefused before anything is touched for a backup that is damaged, incomplete, foreign or of another
    version, and while something else uses the databases. `files`: as `make.backup`'s. `force`: what else uses the
    databases is not asked about."""
    files = places(home, None) if files is None else files
    apart(folder, files)
    manifest, key = manifests.read(folder, secret)
    known = {str(version): sha256 for version, _, sha256, _ in migrations()}
    manifests.fits(manifest, known, older=older)
    if not force:
        _alone(of)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _staged(folder, home, key, of.litgo) as staged:
        _keep_tombstones(of.litgo, (home, folder.parent))
        _keep_counters(of.litgo, staged / "litgo.sql")
        schemas = (SOURCE_SCHEMA, SCHEMA, *(("public",) if manifest.own else ()))
        postgres.load(of.litgo, staged / "litgo.sql", schemas)
        postgres.load(of.mlflow, staged / "mlflow.sql", ("public",), postgres.owner(of.mlflow))
        postgres.load(of.dagster, staged / "dagster.sql", ("public",), postgres.owner(of.dagster))
        _put(staged / "files", home, files)
    migrated = migrate(of.litgo)
    _give_rights(of.litgo)
    where = erase.Places(home, home / "models" / "triage", (of.dagster, of.mlflow), (home, folder.parent), None)
    with contextlib.closing(open_connection(of.litgo, application_name="litgo-restore")) as connection:
        tombstones.take_in(connection, where.lists)
        gone = night.replay(connection, where, at)
    return Restored(manifest, migrated, gone)


@contextlib.contextmanager
def _staged(folder: Path, home: Path, key: bytes, url: str) -> Iterator[Path]:
    """Everything decrypted, unpacked and read through, beside where it will stand."""
    staged = Path(tempfile.mkdtemp(dir=home, prefix=".restore-"))
    try:
        for part in PARTS:
            with (folder / part).open("rb") as source, (staged / part).open("wb") as target:
                for block in sealed.opened(key, part, source):
                    target.write(block)
            if part.endswith(".dump"):
                postgres.script(staged / part, staged / f"{part.removesuffix('.dump')}.sql", url)
                (staged / part).unlink()
        unpack(staged / "files.tar", staged / "files")
        (staged / "files.tar").unlink()
        yield staged
    except (sealed.Unreadable, tarfile.TarError) as error:
        raise BackupRefused(f"{folder}: {error}; nothing was touched") from error
    except OSError as error:
        raise BackupRefused(f"{home}: {error.strerror}: what was begun is taken up by restoring again") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def unpack(file: Path, target: Path) -> None:
    """An archive that was sealed with the key. Raises tarfile.TarError."""
    # Debian 12's Python has no filters yet
    known: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(file) as archive:
        archive.extractall(target, **known)


def _put(source: Path, home: Path, files: Mapping[str, Path]) -> None:
    """The backup's folders instead of those that are there; one elsewhere than in `home` stays: a volume, or a link."""
    for name, target in files.items():
        (source / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        if target.parent != home or target.is_symlink() or target.is_mount():
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in target.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            for path in (source / name).iterdir():
                shutil.move(path, target / path.name)
            continue
        before = home / f".before-{name}"
        shutil.rmtree(before, ignore_errors=True)
        if target.exists():
            target.rename(before)
        (source / name).rename(target)
        shutil.rmtree(before, ignore_errors=True)


def _alone(of: Databases) -> None:
    for url in (of.litgo, of.dagster, of.mlflow):
        with connect(url, application_name="litgo-restore") as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT DISTINCT coalesce(nullif(application_name, ''), 'unnamed') FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' "
                "AND application_name <> ALL(%s) ORDER BY 1",
                (list(BESIDE),),
            )
            if others := [name for (name,) in cursor.fetchall()]:
                raise BackupRefused(
                    f"the database is in use ({', '.join(others)}): stop `litgo up` or the services first, or "
                    "--force when you know what it is"
                )


def _keep_tombstones(url: str, folders: tuple[Path, ...]) -> None:
    """What was erased until now, whatever the backup says; a database without our schema has none."""
    with contextlib.closing(open_connection(url, application_name="litgo-restore")) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('litgo.tombstones') IS NOT NULL")
            (there,) = cursor.fetchone() or (False,)
        if there:
            tombstones.keep(connection, folders)


def _keep_counters(url: str, statements: Path) -> None:
    """Counters go on from what they are, in the transaction that restores: Prometheus takes one that falls for one that
    began anew, and all it ever counted for an increase, which alerts."""
    with connect(url, application_name="litgo-restore") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('litgo.metric_state') IS NOT NULL")
        (there,) = cursor.fetchone() or (False,)
        if not there:
            return
        cursor.execute("SELECT name, labels::text, value FROM litgo.metric_state")
        rows = [cursor.mogrify("(%s, %s::jsonb, %s)", row).decode() for row in cursor]
    if rows:
        with statements.open("a", encoding="utf-8") as file:
            file.write(
                f"\nINSERT INTO litgo.metric_state AS m (name, labels, value) VALUES {', '.join(rows)} "
                "ON CONFLICT (name, labels) DO UPDATE SET value = greatest(m.value, excluded.value);\n"
            )


def _give_rights(url: str) -> None:
    """As `python -m litgo_pipelines.database.roles` does, where the roles are there."""
    with connect(url, application_name="litgo-restore") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_roles WHERE rolname IN ('litgo_pipelines', 'litgo_exporter')")
        there = cursor.fetchone() == (2,)
    if there:
        try:
            roles.apply(url)
        except psycopg2.errors.InsufficientPrivilege:
            print("run `python -m litgo_pipelines.database.roles` as the database's owner", flush=True)


def newest(folder: Path) -> Path:
    """The newest backup of a folder of backups; the folder itself when it is one. Raises BackupRefused."""
    if (folder / manifests.FILE).exists() or not folder.is_dir():
        return folder
    found = manifests.finished(folder)
    if not found:
        raise BackupRefused(f"{os.fspath(folder)} holds no backup of litgo")
    return found[-1][1]
