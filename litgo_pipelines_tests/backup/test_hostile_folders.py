"""Folders of backups as somebody may leave them: refused in words before anything is touched, or not looked at."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from litgo_pipelines.backup import make, manifest, nightly, restore
from litgo_pipelines.backup.make import Databases
from litgo_pipelines.backup.manifest import FILE, BackupRefused

SECRET = "um segredo bem comprido"
AT = datetime(2026, 6, 2, 8, tzinfo=UTC)
NOWHERE = Databases(*["postgresql://127.0.0.1:1/x"] * 3)
BODY = {"created_at": "", "migrations": {}, "parts": {}, "own": True, "salt": "00", "format": manifest.FORMAT}


def written(body: object, signature: object = "") -> str:
    return json.dumps({"body": body if isinstance(body, str) else json.dumps(body), "signature": signature})


MANIFESTS: dict[str, Callable[[Path], object]] = {
    "deep": lambda path: path.write_text("[" * 200_000),
    "deep inside": lambda path: path.write_text(written('{"a":' * 100_000)),
    "a pipe": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
    "a link to it": lambda path: path.symlink_to("/etc/hostname"),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "endless": lambda path: path.write_bytes(b" " * (manifest.LARGEST + 10)),
    "numbers": lambda path: path.write_text(written(7, 7)),
    "a salt that is none": lambda path: path.write_text(written({**BODY, "salt": "zz"})),
    "a salt of numbers": lambda path: path.write_text(written({**BODY, "salt": 7})),
    "parts of numbers": lambda path: path.write_text(written({**BODY, "parts": 7})),
    "more fields": lambda path: path.write_text(written({**BODY, "more": 7})),
    "another signature": lambda path: path.write_text(written(BODY, "é" * 64)),
    "an endless number": lambda path: path.write_text('{"body": ' + "9" * 10_000 + "}"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_nobody_wrote_is_refused_in_words(tmp_path: Path, name: str) -> None:
    MANIFESTS[name](tmp_path / FILE)
    with pytest.raises(BackupRefused, match=r"\w+ \w+"):
        restore.restore(tmp_path, NOWHERE, tmp_path / "home", SECRET, AT)
    assert not (tmp_path / "home").exists()


def backup_in(folder: Path, name: str) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / FILE).touch()
    return folder / name


def test_only_what_has_the_name_of_a_backup_is_one(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    for name in (
        "litgo-oldZ",
        "litgo-20260601T080000Z.tmpZ",
        "litgo-20261301T080000Z",
        "litgo-zZ",
        "litgo-2026061T08000Z",
    ):
        backup_in(folder, name)
    elsewhere = backup_in(tmp_path / "elsewhere", "litgo-20250101T080000Z")
    (folder / elsewhere.name).symlink_to(elsewhere)
    right = [backup_in(folder, f"litgo-2026060{day}T080000Z") for day in range(1, 6)]
    future = backup_in(folder, "litgo-20990101T080000Z")
    assert [path for _, path in manifest.finished(folder, AT + timedelta(days=9))] == right
    assert restore.newest(folder) == future, "whoever restores sees its name, and may name another"
    assert make.prune(folder, datetime(2026, 6, 4, 9, tzinfo=UTC)) == 3
    assert (elsewhere / FILE).exists(), "nothing outside is touched"


def test_a_backup_of_the_future_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backup_in(tmp_path, "litgo-20990101T080000Z")
    made: list[Path] = []
    monkeypatch.setattr(nightly, "FAILED", tmp_path / "failed")
    monkeypatch.setattr(nightly, "once", lambda folder, at: made.append(backup_in(folder, at.strftime(manifest.NAME))))

    class Slept(Exception):
        pass

    def sleep(seconds: float) -> None:
        raise Slept

    with pytest.raises(Slept):
        nightly.keep_on(tmp_path, sleep)
    assert len(made) == 1


@pytest.mark.parametrize("inside", ["models/backups", "snapshots", "mlflow-artifacts/1/x", "models/../models/b"])
def test_backups_among_what_is_backed_up_are_refused(tmp_path: Path, inside: str) -> None:
    home = tmp_path / "home"
    for work in (
        lambda: make.backup(NOWHERE, home, home / inside, SECRET, AT),
        lambda: restore.restore(home / inside / "litgo-20260601T080000Z", NOWHERE, home, SECRET, AT),
    ):
        with pytest.raises(BackupRefused, match="elsewhere"):
            work()
    (tmp_path / "link").symlink_to(home / "models")
    with pytest.raises(BackupRefused, match="elsewhere"):
        make.backup(NOWHERE, home, tmp_path / "link" / "b", SECRET, AT)
    make.apart(home / "backups", make.places(home, None))
