"""The nightly backup of a deployment: a role that reads what it must and nothing else, a process that tries again."""

import shutil
import stat
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from litgo_pipelines.backup import make, nightly, restore
from litgo_pipelines.backup.make import Databases
from litgo_pipelines.backup.manifest import BackupRefused
from litgo_pipelines.database import DatabaseUnavailable, connect, normalise, roles
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds import persons, sessions

SECRET = "um segredo bem comprido"
AT = datetime(2026, 6, 2, 8, tzinfo=UTC)
STORED = (
    "CREATE TABLE runs (id serial PRIMARY KEY, body text)",
    "INSERT INTO runs (body) VALUES ('ação')",
)


def as_role(url: str, role: str) -> str:
    return make_url(url).set(username=role).render_as_string(hide_password=False)


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with connect(url, application_name="litgo-restore") as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def owned(postgres_server_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Databases]:
    """The three databases as their owner reaches them; the storages belong to their roles, which made tables since."""
    names = {role: f"{role}_{uuid.uuid4().hex[:8]}" for role in roles.STORAGE}
    monkeypatch.setattr(roles, "STORAGE", names)
    execute(postgres_server_url, *(f"CREATE DATABASE {name}" for name in names.values()))
    urls = [normalise(postgres_server_url, database=names[role]) for role in ("litgo_dagster", "litgo_mlflow")]
    roles.apply(database_url)
    for role, url in zip(("litgo_dagster", "litgo_mlflow"), urls, strict=True):
        execute(as_role(url, role), *STORED)
    yield Databases(database_url, *urls)
    execute(postgres_server_url, *(f"DROP DATABASE {name} WITH (FORCE)" for name in names.values()))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


def read_by(owned: Databases, role: str = "litgo_backup") -> Databases:
    return Databases(*(as_role(url, role) for url in (owned.litgo, owned.dagster, owned.mlflow)))


def nightly_of(owned: Databases, home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: str) -> str:
    """As the service makes it."""
    given = read_by(owned)
    names = {
        "LITGO_HOME": str(home),
        "LITGO_DATABASE_URL": given.litgo,
        "DAGSTER_DATABASE_URL": given.dagster,
        "LITGO_MLFLOW_DATABASE_URL": given.mlflow,
        "LITGO_BACKUP_PASSPHRASE": SECRET,
    }
    for name, value in (names | more).items():
        monkeypatch.setenv(name, value)
    return nightly.once(folder, AT)


def test_it_is_made_under_its_role_and_restored_by_the_owner(
    owned: Databases, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = persons.fill(owned.litgo, home)
    artifacts, folder = tmp_path / "volume", tmp_path / "backups"
    (artifacts / "1").mkdir(parents=True)
    (artifacts / "1" / "model.txt").write_text("a model")
    rows = ask(owned.litgo, "SELECT t::text FROM litgo.triage t ORDER BY 1")
    name = nightly_of(owned, home, folder, monkeypatch, MLFLOW_ARTIFACTS=str(artifacts))
    assert ask(owned.litgo, "SELECT name FROM litgo.backups") == [(name,)]

    sessions.close(owned.litgo)
    execute(owned.litgo, "DROP SCHEMA litgo_source CASCADE", "DROP SCHEMA litgo CASCADE")
    for url in (owned.dagster, owned.mlflow):
        execute(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    shutil.rmtree(artifacts / "1")
    (artifacts / "newer").write_text("came after it")
    restore.restore(folder / name, owned, home, SECRET, AT, make.places(home, str(artifacts)))
    assert ask(owned.litgo, "SELECT t::text FROM litgo.triage t ORDER BY 1") == rows != []
    assert people.client in str(ask(owned.litgo, "SELECT id FROM public.profiles"))
    assert {path.name: path.read_text() for path in artifacts.rglob("*") if path.is_file()} == {"model.txt": "a model"}
    # whoever used a storage before uses it again, and the next backup is made
    for role, url in zip(("litgo_dagster", "litgo_mlflow"), (owned.dagster, owned.mlflow), strict=True):
        execute(as_role(url, role), "INSERT INTO runs (body) VALUES ('more')", "ALTER TABLE runs ADD COLUMN c int")
    assert ask(as_role(owned.dagster, "litgo_exporter"), "SELECT count(*) FROM public.runs") == [(2,)]
    make.backup(read_by(owned), home, folder, SECRET, AT + timedelta(days=1))


def test_somebody_elses_marketplace_is_not_read(owned: Databases, home: Path, tmp_path: Path) -> None:
    execute(owned.litgo, "DELETE FROM litgo.own_marketplace", "CREATE TABLE public.theirs AS SELECT 1 AS one")
    roles.apply(owned.litgo)
    for table in ("profiles", "lawyers", "theirs"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            ask(as_role(owned.litgo, "litgo_backup"), f"SELECT * FROM public.{table}")
    make.backup(read_by(owned), home, tmp_path / "backups", SECRET, AT)


def test_its_role_writes_nothing(owned: Databases) -> None:
    of = read_by(owned)
    for url, statement in (
        (of.litgo, "DELETE FROM litgo.backups"),
        (of.litgo, "UPDATE litgo.backups SET made_at = now()"),
        (of.litgo, "INSERT INTO litgo.tombstones (digest, kind, erased_at) VALUES ('', 'x', now())"),
        (of.litgo, "UPDATE public.profiles SET full_name = 'x'"),
        (of.litgo, "SELECT nextval('litgo.model_ledger_sequence_seq')"),
        (of.litgo, "SELECT * FROM litgo_source.profiles"),
        (of.litgo, "CREATE TABLE public.x (i int)"),
        (of.dagster, "DELETE FROM public.runs"),
        (of.mlflow, "UPDATE public.runs SET body = ''"),
        (of.mlflow, "SELECT nextval('public.runs_id_seq')"),
        (of.mlflow, "CREATE TABLE public.x (i int)"),
    ):
        with pytest.raises((psycopg2.errors.InsufficientPrivilege, psycopg2.errors.UndefinedTable)):
            ask(url, statement)
    # and no run reads what it reads
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        ask(as_role(owned.litgo, "litgo_pipelines"), "SELECT * FROM public.profiles")
    with pytest.raises(DatabaseUnavailable, match="CONNECT"):
        ask(as_role(owned.mlflow, "litgo_pipelines"), "SELECT * FROM public.runs")


def test_when_it_is_due() -> None:
    def at(text: str) -> datetime:
        return datetime.fromisoformat(f"{text}-03:00")

    now = at("2026-06-02T12:00")
    assert nightly.due(None, now) == now
    assert nightly.due(at("2026-06-02T05:00"), now) == at("2026-06-03T05:00")
    assert nightly.due(at("2026-06-02T04:59"), now) == now, "this night's is missing"
    assert nightly.due(at("2026-06-01T11:00"), now) == now
    assert nightly.due(at("2026-06-02T11:59"), now) == at("2026-06-03T05:00")
    assert nightly.due(at("2026-06-05T05:00"), now) == now, "the clock was ahead"


def test_it_is_tried_again_until_it_goes_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = tmp_path / "failed"
    made: list[datetime] = []
    monkeypatch.setattr(nightly, "FAILED", failed)
    monkeypatch.setattr(nightly, "SHORTEST", timedelta(0))
    answers: list[Exception | None] = [BackupRefused("no room"), OSError("no"), psycopg2.OperationalError("gone"), None]

    def once(folder: Path, at: datetime) -> str:
        assert failed.exists() == bool(made)
        made.append(at)
        if (error := answers.pop(0)) is not None:
            raise error
        (folder / (name := f"litgo-{at:%Y%m%dT%H%M%SZ}")).mkdir(parents=True)
        (folder / name / "manifest.json").touch()
        return name

    class Slept(Exception):
        pass

    def sleep(seconds: float) -> None:
        raise Slept

    def gone(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(nightly, "once", once)
    monkeypatch.setattr("builtins.print", gone)
    with pytest.raises(Slept):
        nightly.keep_on(tmp_path / "backups", sleep)
    assert (len(made), failed.exists()) == (4, False)


def test_nothing_plain_is_ever_written(
    owned: Databases, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any moment, what lies there is encrypted; the folder may be somebody else's disk."""
    people, folder, seen = persons.fill(owned.litgo, home), tmp_path / "backups", []
    real = make.sealed.seal

    def looked_at(key: bytes, part: str, source: Any, target: Any) -> Any:
        done = real(key, part, source, target)
        target.flush()
        found = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        seen.append(part)
        assert people.client.encode() not in found
        assert b"PGDMP" not in found
        assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in folder.iterdir()} == {0}
        return done

    monkeypatch.setattr(make.sealed, "seal", looked_at)
    make.backup(owned, home, folder, SECRET, AT)
    assert seen == ["litgo.dump", "mlflow.dump", "dagster.dump", "files.tar"]
