"""The file of an export is its owner's alone, of the person who was named, and of one moment."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from litgo_pipelines.database import session_lock
from litgo_pipelines.persons import erase, export, keys
from litgo_pipelines_tests.support import HERE, until
from litgo_pipelines_tests.worlds.persons import AT, fill
from litgo_pipelines_tests.worlds.sessions import kept

PERSON = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"
WAITS = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND {HERE}"


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_what_others_laid_out_in_the_folder_is_neither_written_to_nor_followed(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("untouched")
    path = tmp_path / f"titular-{PERSON}.json"
    names = (path.name, f".{path.name}.partial", ".partial-", ".partial")
    for name in names:
        (tmp_path / name).symlink_to(theirs)
    export.write(path, {"titular": PERSON})
    assert theirs.read_text() == "untouched"
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text()) == {"titular": PERSON}
    assert {file.name for file in tmp_path.iterdir()} == {theirs.name, *names}, "nothing is left half done"


@pytest.mark.usefixtures("open_umask")
def test_who_had_the_file_open_before_reads_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "titular.json"
    path.write_text("")
    path.chmod(0o666)
    with path.open() as listening:
        export.write(path, {"titular": PERSON})
        assert listening.read() == ""
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written_whole_leaves_nothing(tmp_path: Path) -> None:
    loop: dict[str, object] = {}
    loop["itself"] = loop
    with pytest.raises(ValueError, match="Circular"):
        export.write(tmp_path / "titular.json", loop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "given",
    [
        "../../etc/passwd",
        f"../{PERSON}",
        f"{PERSON}/../x",
        PERSON.replace("0a1b", "\uff10a1b"),  # a full-width zero
        PERSON.replace("1", "\u0661"),  # Arabic digits, which int() reads
        PERSON.replace("-", "\u2010"),
        PERSON.replace("0a1b2c3d", "0_1b2c3d"),  # int() skips the underscore: another person
        PERSON.replace("0a1b2c3d", "+a1b2c3d"),
        PERSON.replace("0a1b2c3d", " a1b2c3d").replace("-", ""),
        PERSON.replace("4e5f", "4e5f\u200b"),
        PERSON[:-1],
        f"{{{PERSON}}}",
        f"urn:uuid:{PERSON}",
        f"{PERSON}\x00",
        f"{PERSON} {PERSON}",
        PERSON.replace("-", "", 1),
    ],
)
def test_an_id_is_written_as_ids_are(given: str) -> None:
    with pytest.raises(keys.NoPerson):
        keys.person(given)


@pytest.mark.parametrize("given", [PERSON, PERSON.upper(), f" {PERSON}\n", PERSON.replace("-", "")])
def test_an_id_is_read_however_its_letters_are_written(given: str) -> None:
    assert keys.person(given) == PERSON


def test_an_erasure_takes_the_exports_that_name_the_person(database_url: str, tmp_path: Path) -> None:
    people = fill(database_url, tmp_path)
    folder = tmp_path / "exports"
    folder.mkdir()
    with kept(database_url) as connection:
        found = export.export(connection, people.client, "Encarregada", AT, tmp_path)
        export.write(folder / "titular-0.json", found)
        export.write(folder / "titular-1.json", {"titular": people.other})
        assert "Zuleica Quaresma" in (folder / "titular-0.json").read_text()
        erase.erase(connection, people.client, "Encarregada", erase.Places(tmp_path, tmp_path / "none"), AT)
    assert [file.name for file in folder.iterdir()] == ["titular-1.json"]


def test_an_export_waits_for_an_erasure_that_runs(database_url: str, tmp_path: Path) -> None:
    people = fill(database_url, tmp_path)
    found: list[str] = []

    def work() -> None:
        with kept(database_url) as connection:
            found.append(export.export(connection, people.client, "Encarregada", AT, tmp_path)["titular"])

    thread = threading.Thread(target=work)
    with kept(database_url) as erasing:
        with session_lock(erasing, keys.LOCK):
            thread.start()
            with kept(database_url) as connection, connection, connection.cursor() as cursor:

                def waiting() -> bool:
                    cursor.execute(WAITS)
                    return bool(cursor.fetchone()[0])

                until(waiting, 60, "the export to wait")
            assert found == []
        thread.join(timeout=60)
    assert found == [people.client]
