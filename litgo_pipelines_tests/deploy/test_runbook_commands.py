"""Every command of the runbooks and of docs/operations.md runs as pasted, beside a platform as `litgo up` starts it.

What is in capitals stands for a value and gets one. Commands for containers are held against the Compose file; what
asks a server that is not started here is held against its program's help.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from litgo_pipelines.cli import app
from litgo_pipelines.database import connect, normalise
from litgo_pipelines.experiments import store
from litgo_pipelines.observability.exporter import Exporter, serving
from litgo_pipelines.runtime import supervisor
from litgo_pipelines_tests.support import PROJECT, execute, free_port, until
from litgo_pipelines_tests.worlds import matching, sessions
from litgo_pipelines_tests.worlds.compose import load
from litgo_pipelines_tests.worlds.experiments import PLAN
from litgo_pipelines_tests.worlds.lifecycle import Life

PAGES = [
    *sorted((PROJECT / "docs" / "runbooks").glob("*.md")),
    PROJECT / "docs" / "operations.md",
]
PROGRAMS = ("litgo", "docker", "make", "amtool", "promtool", "du", "df", "psql", "python", "curl", "export", "pg_dump")
DEPENDS = pytest.mark.proof(
    "docs/runbooks",
    "docs/operations.md",
    "litgo_pipelines/cli",
    "litgo_pipelines/database",
    "litgo_pipelines/runtime/supervisor.py",
    "litgo_pipelines_tests/worlds",
)
LOOKS = {"status", "doctor"}  # exit code 1: there is something to look at
COMPOSE = ("docker", "compose", "--env-file", ".env", "-f", "deploy/compose.yaml")
ID = "123e4567-e89b-12d3-a456-426614174000"
EXAMPLES = {"CASE_ID": ID, "CASE_OR_MESSAGE_ID": ID, "CASO": ID, "ID": ID, "MESSAGE_ID": ID, "VERSION": "3"}
CASE, REVIEWED = "md5('case 1')::uuid", "md5('case 2')::uuid"

ROWS = f"""
INSERT INTO litgo.matching_failures VALUES ({CASE}, 3, 'ValueError', now(), now(), now(), true);
INSERT INTO litgo.triage (case_id, as_of, status, reason, urgency_h, urgency_source, complexity, sources, alternatives)
VALUES ({REVIEWED}, now(), 'review', 'unclear', 72, 'default', 'LOW', '{{}}', '[]');
INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at, status, reason)
VALUES ('lawyers_interested', md5('client 1')::uuid, 'x', '{{}}', now(), 'dead', 'no address');
"""


def commands() -> Iterator[tuple[str, str]]:
    """(page, command): lines of code blocks, and inline code that begins with a program's name and goes on."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        lines = [line for block in blocks for line in block.splitlines()]
        lines += re.findall(r"^    (\S.*)$", prose, re.MULTILINE)
        lines += [code for code in re.findall(r"`([^`\n]+)`", prose) if " " in code]
        for line in lines:
            command = re.sub(r"\s{2,}#.*", "", line).strip()
            if command.split()[0] in PROGRAMS and "…" not in command:
                yield page.stem, command


FOUND = sorted({command: page for page, command in commands()}.items())


def of(*programs: str) -> list[str]:
    return [command for command, _ in FOUND if command.split()[0] in programs]


def parsed(words: list[str]) -> tuple[Any, list[str], list[str]]:
    """The command, its path, what is left for it. Fails for one that does not exist."""
    command: Any = typer.main.get_command(app)
    path: list[str] = []
    while hasattr(command, "commands"):
        assert words, "a group of commands, not one"
        child = command.commands.get(words[0])
        assert child is not None, words
        command, path, words = child, [*path, words[0]], words[1:]
    return command, path, words


def is_name(command: str) -> bool:
    """Prose that names a command which needs more than its name."""
    found, _, rest = parsed(shlex.split(command)[1:])
    return not rest and any(parameter.required for parameter in found.params)


def test_there_are_commands_of_each_kind() -> None:
    assert len(of("litgo")) > 20
    assert len(of("docker")) >= 4
    assert {"curl", "du", "amtool", "promtool"} <= {command.split()[0] for command, _ in FOUND}


@pytest.mark.parametrize("command", of("docker"))
def test_commands_for_containers_name_services_that_exist(command: str) -> None:
    words = shlex.split(command)
    assert tuple(words[: len(COMPOSE)]) == COMPOSE, "what .env says decides the images"
    verb, *rest = words[len(COMPOSE) :]
    assert verb in {"logs", "exec", "run", "restart", "up", "ps"}
    services = [word for word in rest if not word.startswith("-")]
    assert services[0] in load({})["services"]


@pytest.mark.parametrize("command", of("amtool", "promtool"))
def test_what_asks_a_server_is_understood_by_its_program(command: str) -> None:
    words = shlex.split(command)
    if not shutil.which(words[0]):
        pytest.skip(f"no {words[0]} (Debian: prometheus, prometheus-alertmanager)")
    if words[1] == "check-config":
        done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return
    verbs = [word for word in words[1:4] if re.fullmatch(r"[a-z-]+", word)]
    told = subprocess.run([words[0], *verbs, "--help"], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    for option in (word.partition("=")[0] for word in words if word.startswith("--")):
        assert option in told.stdout + told.stderr, option


@pytest.mark.parametrize("command", of("make"))
def test_targets_exist(command: str) -> None:
    makefile = (PROJECT / "Makefile").read_text()
    assert re.search(rf"^{command.split()[1]}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("command", of("litgo"))
def test_litgo_commands_exist_with_their_options(command: str) -> None:
    found, path, words = parsed(shlex.split(command)[1:])
    if not is_name(command):
        given = [EXAMPLES.get(word, word) for word in words]
        found.make_context(path[-1], given)  # raises for an unknown option, a missing argument, a value that cannot be


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, mlflow_stores: Path) -> Iterator[Path]:
    """A platform as `litgo up` holds it open, with something in it for every command; its folder is `.litgo`."""
    folder = tmp_path_factory.mktemp("checkout")
    for entry in PROJECT.iterdir():
        if entry.name not in {".litgo", ".env"}:
            (folder / entry.name).symlink_to(entry)
    models = shutil.copy(mlflow_stores / "template.db", folder.parent / "runbooks.db")
    with pytest.MonkeyPatch.context() as patch:
        for name in (*supervisor.URLS, "DAGSTER_HOME", "LITGO_DAGSTER_FILES"):
            patch.delenv(name, raising=False)
        patch.chdir(folder)
        patch.setattr(os, "environ", dict(os.environ) | {"LITGO_HOME": str(folder / ".litgo")})
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{models}"
        os.environ["LITGO_BACKUP_PASSPHRASE"] = "quatro palavras sem sentido"
        with supervisor.platform() as environment:
            url = environment["LITGO_DATABASE_URL"]
            matching.fill(url)
            matching.match(url)
            life = Life(url)
            life.champion("1")
            life.challenger("2")
            life.do(store.start, "2", PLAN, life.by("a try"))
            life.candidate("4")
            with connect(url) as connection, connection.cursor() as cursor:
                cursor.execute(ROWS)
            supervisor.initialise_dagster(environment)
            sessions.close(url)  # the matching's
            execute(normalise(url, "postgres"), "CREATE DATABASE filled TEMPLATE litgo")
            yield folder


@pytest.fixture
def as_at_first(home: Path) -> Path:
    """The same once more: what a command changes is nothing to the next."""
    url = normalise(f"postgresql://postgres@/postgres?host={home / '.litgo' / 'postgres'}")
    execute(url, "DROP DATABASE litgo WITH (FORCE)", "CREATE DATABASE litgo TEMPLATE filled")
    return home


def values(path: list[str]) -> dict[str, str]:
    """What stands for the words in capitals."""
    with (
        connect(str((supervisor.as_it_stands() or {})["LITGO_DATABASE_URL"])) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            f"SELECT {CASE}::text, {REVIEWED}::text, (SELECT message_id::text FROM litgo.outbox WHERE status = 'dead')"
        )
        case, reviewed, message = cursor.fetchone()
    return {
        "CASO": reviewed,
        "AREA": "Civil",
        "SUBAREA": "Contratos",
        "NOME": "Ana",
        "CASE_ID": case,
        "CASE_OR_MESSAGE_ID": case,
        "ID": message,
        "MESSAGE_ID": message,
        "NAME": "Ana",
        "REASON": "because",
        "VERSION": "4" if path == ["model", "promote"] else "1",
        "FOLDER": "backups",
        "COMMAND": "true",
    }


def run(command: str) -> tuple[int, str]:
    """Exit code and output of a litgo command, in this process; what it starts writes to this process's output."""
    _, path, _ = parsed(shlex.split(command)[1:])
    with_values = re.sub(r"\b[A-Z][A-Z_]+\b", lambda word: values(path).get(word[0], word[0]), command)
    with environment():
        done = CliRunner().invoke(app, shlex.split(with_values)[1:])
    return done.exit_code, f"{with_values}: {done.output} {done.exception!r}"


ROLLBACK = "litgo model rollback VERSION --who NAME --why REASON"
BEFORE = {
    "model lift-freeze": (
        ROLLBACK,
        "litgo model promote VERSION --who NAME --why REASON",
        ROLLBACK.replace("VERSION", "4"),
    ),
    "restore": ("litgo backup FOLDER",),
}


@pytest.mark.slow
@DEPENDS
@pytest.mark.timeout(300)
@pytest.mark.parametrize("command", of("litgo"))
def test_litgo_commands_run_as_pasted(as_at_first: Path, command: str) -> None:
    if is_name(command):
        pytest.skip("prose that names a command; elsewhere it stands with what it needs")
    _, path, _ = parsed(shlex.split(command)[1:])
    if path in (["up"], ["exporter"]):
        pytest.skip("runs until it is stopped: test_self_healing, and below")
    for before in BEFORE.get(" ".join(path), ()):
        code, output = run(before)
        assert code == 0, output
    code, output = run(command)
    assert code in ({0, 1} if path[-1] in LOOKS else {0}), output


@contextmanager
def environment() -> Iterator[None]:
    """What a command sets for its process, which ends with it, is set for the next no more."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.mark.slow
@DEPENDS
@pytest.mark.parametrize("command", of("curl", "du", "df", "psql", "python", "export"))
def test_other_commands_run_as_pasted(as_at_first: Path, command: str) -> None:
    if module := re.fullmatch(r"python -m (benchmarks\.\w+)", command):
        assert (as_at_first / f"{module[1].replace('.', '/')}.py").exists()
        pytest.skip("takes minutes; written down with its figures in docs/")
    if command.startswith("curl") and "http" not in command:
        command += " http://127.0.0.1:9108/healthz"  # "on the service's address"
    for folder in ("snapshots", "models", "logs"):
        (as_at_first / ".litgo" / folder).mkdir(exist_ok=True)
    (as_at_first / ".curlrc").write_text("fail\n")  # an answer of 400 or above ends the command with an error
    found = supervisor.as_it_stands()
    assert found is not None
    found["CURL_HOME"] = str(as_at_first)
    exporter = Exporter(found["LITGO_DATABASE_URL"])
    with serving(exporter, "127.0.0.1", 0, 60) as port:
        until(lambda: exporter.ready, 30, "the exporter")
        pasted = ["bash", "-o", "pipefail", "-c", command.replace(":9108", f":{port}")]
        done = subprocess.run(pasted, env=found, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@DEPENDS
def test_the_exporter_by_itself_runs_beside_the_platform(as_at_first: Path) -> None:
    assert "litgo exporter" in of("litgo")
    port = free_port()
    own = dict(os.environ) | {"EXPORTER_PORT": str(port)}
    with subprocess.Popen([sys.executable, "-m", "litgo_pipelines.cli", "exporter"], env=own) as process:
        try:
            until(lambda: answers(port), 60, "the exporter")
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def answers(port: int) -> bool:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
