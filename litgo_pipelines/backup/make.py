"""A backup: our schema, Dagster's and MLflow's databases, snapshots, models and MLflow's files; complete or absent.

Databases first, then files, to which is only added: whatever a row names is there.
"""

import contextlib
import errno
import os
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from litgo_pipelines.backup import postgres, sealed
from litgo_pipelines.backup.manifest import FILE, NAME, BackupRefused, Manifest, finished
from litgo_pipelines.database import SCHEMA, connect, open_connection
from litgo_pipelines.persons import tombstones

ARTIFACTS = "mlflow-artifacts"
FOLDERS = ("snapshots", "models", ARTIFACTS)
KEPT = 3  # newest backups that stay, however old
LEAST = 12  # characters of a passphrase


@dataclass(frozen=True)
class Databases:
    """URLs."""

    litgo: str
    dagster: str
    mlflow: str


def passphrase() -> str:
    """From the environment, or the file it names. Raises BackupRefused."""
    given = os.environ.get("LITGO_BACKUP_PASSPHRASE", "")
    if not given and (file := os.environ.get("LITGO_BACKUP_PASSPHRASE_FILE")):
        try:
            given = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise BackupRefused(f"LITGO_BACKUP_PASSPHRASE_FILE={file}: {error.strerror}") from None
    if len(given) < LEAST:
        raise BackupRefused(
            f"a backup holds personal data and is encrypted: set LITGO_BACKUP_PASSPHRASE, or name a file by "
            f"LITGO_BACKUP_PASSPHRASE_FILE, of {LEAST} characters or more, and keep it elsewhere than the backup"
        )
    return given


def places(home: Path, artifacts: str | None) -> dict[str, Path]:
    """Where a backup's files stand; MLflow's only where they are on this machine. `artifacts`: MLFLOW_ARTIFACTS."""
    found = {name: home / name for name in FOLDERS}
    if artifacts and "://" in artifacts:
        del found[ARTIFACTS]
    elif artifacts:
        found[ARTIFACTS] = Path(artifacts)
    return found


def backup(
    of: Databases, home: Path, folder: Path, secret: str, at: datetime, files: Mapping[str, Path] | None = None
) -> Path:
    """A new folder in `folder`, named by the instant. Raises BackupRefused; then nothing of it is left.

    `files`: as `places`, which is also what it is without. Nothing is written down that is not encrypted.
    """
    name = at.astimezone(UTC).strftime(NAME)
    files = places(home, None) if files is None else files
    apart(folder, files)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BackupRefused(f"{folder}: {error.strerror}: name a folder that this user may write to") from None
    if (folder / name).exists():
        raise BackupRefused(f"{folder / name} is there already: wait a second")
    migrations, own = _about(of.litgo)
    salt = os.urandom(16)
    key = sealed.key_of(secret, salt)
    with _partial(folder) as partial:
        sources: dict[str, AbstractContextManager[BinaryIO]] = {
            "litgo.dump": postgres.dump(of.litgo, () if own else (SCHEMA,)),
            "mlflow.dump": postgres.dump(of.mlflow),
            "dagster.dump": postgres.dump(of.dagster),
            "files.tar": _packed(files),
        }
        parts: dict[str, dict[str, str | int]] = {}
        for part, plain in sources.items():
            with (partial / part).open("wb") as target:
                with plain as source:
                    size, digest = sealed.seal(key, part, source, target)
                target.flush()
                os.fsync(target.fileno())
            parts[part] = {"size": size, "sha256": digest}
        manifest = Manifest(at.isoformat(), migrations, parts, own, salt.hex())
        (partial / FILE).write_text(manifest.text(key), encoding="utf-8")
        partial.rename(folder / name)
    with connect(of.litgo, application_name="litgo-backup") as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO litgo.backups (name, made_at, bytes) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (name, at, sum(int(part["size"]) for part in parts.values())),
        )
    with contextlib.closing(open_connection(of.litgo, application_name="litgo-backup")) as session:
        tombstones.keep(session, [place for place in (home, folder) if os.access(place, os.W_OK)])
    return folder / name


def apart(folder: Path, files: Mapping[str, Path]) -> None:
    """Raises BackupRefused for a folder of backups among what is backed up: each would hold all earlier ones, and a
    restoration would take its own place away."""
    for place in files.values():
        if folder.resolve().is_relative_to(place.resolve()):
            raise BackupRefused(f"{folder} lies in {place}, which is part of a backup: choose a folder elsewhere")


def prune(folder: Path, before: datetime) -> int:
    """Backups older than the instant go, but for the newest few; how many went."""
    gone = 0
    for made, path in finished(folder)[:-KEPT]:
        if made < before:
            (path / FILE).unlink()  # from here on it is none
            shutil.rmtree(path, ignore_errors=True)
            gone += 1
    return gone


def _about(url: str) -> tuple[dict[str, str], bool]:
    """(migrations, whether we created the marketplace's tables)."""
    with connect(url, application_name="litgo-backup") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT version::text, sha256 FROM litgo.schema_migrations ORDER BY version")
        migrations = dict(cursor.fetchall())
        cursor.execute("SELECT EXISTS (SELECT FROM litgo.own_marketplace)")
        (own,) = cursor.fetchone() or (False,)
    return migrations, bool(own)


@contextlib.contextmanager
def _packed(files: Mapping[str, Path]) -> Iterator[BinaryIO]:
    """An archive of the folders, as it is read."""
    reading, writing = os.pipe()
    failed: list[BaseException] = []

    def pack() -> None:
        try:
            with os.fdopen(writing, "wb") as target:
                _pack(files, target)
        except BaseException as error:
            failed.append(error)

    packer = threading.Thread(target=pack, name="backup-files", daemon=True)
    packer.start()
    with os.fdopen(reading, "rb") as source:
        yield source
    packer.join()
    if failed:
        raise failed[0]


def _pack(files: Mapping[str, Path], target: BinaryIO) -> None:
    """Partial files of others stay behind, symbolic links too; one that goes meanwhile is nobody's any more."""
    with tarfile.open(fileobj=target, mode="w|") as archive:
        for name, folder in files.items():
            for root, folders, found in os.walk(folder):
                folders[:] = [one for one in folders if not one.startswith(".partial")]
                for file in sorted(found):
                    path = Path(root) / file
                    if not file.startswith(".partial") and path.is_file() and not path.is_symlink():
                        with contextlib.suppress(FileNotFoundError):
                            archive.add(path, str(Path(name) / path.relative_to(folder)), recursive=False)


@contextlib.contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    for left in folder.glob(".partial-*"):  # of killed ones, a day old
        if datetime.now(UTC).timestamp() - left.stat().st_mtime > timedelta(days=1).total_seconds():
            shutil.rmtree(left, ignore_errors=True)
    path = Path(tempfile.mkdtemp(dir=folder, prefix=".partial-"))
    try:
        yield path
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BackupRefused(f"no room in {folder} for the backup; nothing of it is left") from error
        raise
    finally:
        shutil.rmtree(path, ignore_errors=True)
