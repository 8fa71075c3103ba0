"""The manifest of a backup: what it is of, of which version, and the hash of each part. Pure.

What is wrong with a backup is found here, in words, before anything is touched.
"""

import hashlib
import hmac
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from litgo_pipelines.backup import sealed

FORMAT = "litgo-backup-1"
FILE = "manifest.json"
LARGEST = 1 << 20  # bytes of it; one has some thousands
PREFIX = "litgo-"
NAME = f"{PREFIX}%Y%m%dT%H%M%SZ"
PARTS = ("litgo.dump", "dagster.dump", "mlflow.dump", "files.tar")


class BackupRefused(ValueError):
    """A backup that cannot be made or restored; the message says why and what to do."""


@dataclass(frozen=True)
class Manifest:
    """`migrations`: number → SHA-256; `parts`: name → size and SHA-256 as kept; `own`: the marketplace is ours."""

    created_at: str
    migrations: Mapping[str, str]
    parts: Mapping[str, Mapping[str, str | int]]
    own: bool
    salt: str
    format: str = FORMAT

    def text(self, key: bytes) -> str:
        """The file, signed."""
        body = json.dumps(asdict(self), sort_keys=True)
        return json.dumps({"body": body, "signature": sealed.signature(key, body.encode())}, indent=1)


def read(folder: Path, passphrase: str) -> tuple[Manifest, bytes]:
    """(manifest, key) of a complete and sound backup. Raises BackupRefused."""
    if not folder.is_dir():
        raise BackupRefused(f"{folder} is no folder: name the backup itself, like FOLDER/litgo-20260131T080000Z")
    try:
        outer = json.loads(_small(folder / FILE))
        body, signed = str(outer["body"]), str(outer["signature"])
        fields = json.loads(body)
    except FileNotFoundError:
        raise BackupRefused(f"{folder} has no {FILE}: it is no backup of litgo, or was not finished") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BackupRefused(f"{folder / FILE} is damaged: take another backup") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        kind = fields.get("format") if isinstance(fields, dict) else None
        raise BackupRefused(
            f"{folder} has the format {kind!r}, this version reads {FORMAT!r}: use the version it is of"
        )
    try:
        manifest = Manifest(**fields)
        key = sealed.key_of(passphrase, bytes.fromhex(manifest.salt))
    except (ValueError, TypeError) as error:
        raise BackupRefused(f"{folder / FILE} is damaged: take another backup") from error
    if not hmac.compare_digest(sealed.signature(key, body.encode()).encode(), signed.encode()):
        raise BackupRefused(
            f"{folder} was made with another passphrase, or its manifest was changed: set LITGO_BACKUP_PASSPHRASE to "
            "the one it was made with"
        )
    _complete(folder, manifest)
    return manifest, key


def _small(path: Path) -> str:
    """A plain file of the size that a manifest has. Raises FileNotFoundError, ValueError."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("no file")
            raw = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(error.strerror) from error
    if len(raw) > LARGEST:
        raise ValueError("too large")
    return raw.decode()


def finished(folder: Path, until: datetime | None = None) -> list[tuple[datetime, Path]]:
    """Finished backups of a folder with their instants, the oldest first; whatever else lies there is none.

    `until`: without those of a later instant, from when a clock was ahead.
    """
    found = []
    for path in folder.glob(f"{PREFIX}*Z"):
        try:
            made = datetime.strptime(path.name, NAME).replace(tzinfo=UTC)
        except ValueError:
            continue
        if path.name == made.strftime(NAME) and not path.is_symlink() and (path / FILE).is_file():
            found.append((made, path))
    return sorted(one for one in found if until is None or one[0] <= until)


def _complete(folder: Path, manifest: Manifest) -> None:
    if missing := sorted(set(PARTS) - set(manifest.parts)):
        raise BackupRefused(f"{folder} is incomplete: its manifest lacks {', '.join(missing)}")
    for name, part in manifest.parts.items():
        path = folder / name
        if name not in PARTS or not path.is_file() or path.is_symlink():
            raise BackupRefused(f"{folder} is incomplete: {name} is missing")
        if path.stat().st_size != part["size"]:
            raise BackupRefused(f"{path} has {path.stat().st_size} bytes, not {part['size']}: take another backup")
        if file_sha256(path) != part["sha256"]:
            raise BackupRefused(f"{path} is damaged: its hash is not that of the manifest; take another backup")


def fits(manifest: Manifest, known: Mapping[str, str], *, older: bool) -> None:
    """Raises BackupRefused for a backup of another version; `older`: one that lacks migrations is taken."""
    if unknown := sorted(set(manifest.migrations) - set(known)):
        raise BackupRefused(f"the backup has migrations {', '.join(unknown)} that this version lacks: use newer code")
    if changed := sorted(one for one, sha256 in manifest.migrations.items() if known[one] != sha256):
        raise BackupRefused(
            f"the backup's migrations {', '.join(changed)} are others than this version's: foreign code"
        )
    if not older and len(manifest.migrations) < len(known):
        raise BackupRefused(
            f"the backup is of an older version, with {len(manifest.migrations)} of {len(known)} migrations: restore "
            "it with that version, or with --older, which migrates it"
        )


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
