"""What commands print: JSON for programs, the version, completion, and what an argument stands for."""

import json
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import typer.main
from typer.testing import CliRunner

from litgo_pipelines.cli import app
from litgo_pipelines.cli.session import acting, show
from litgo_pipelines_tests.support import execute

COMMAND = typer.main.get_command(app)
LISTINGS = ("list", "show", "fila", "parados", "tarefas", "ausentes", "dead-letters", "status", "doctor", "explain")


def leaves(command: Any = COMMAND, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and command of every command that is no group."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
    for name, each in (inner or {}).items():
        yield from leaves(each, (*path, name))


EVERY = dict(leaves())


def test_every_listing_speaks_json() -> None:
    silent = [path for path, command in EVERY.items() if path[-1] in LISTINGS and "--json" not in options(command)]
    assert silent == []


def options(command: Any) -> list[str]:
    return [name for parameter in command.params for name in parameter.opts]


@pytest.mark.parametrize("path", [path for path in EVERY if path], ids=" ".join)
def test_placeholders_say_what_is_meant(path: tuple[str, ...]) -> None:
    """An argument or a text option says more than that it is text: in its name, or in a line of help."""
    mute = [each.name for each in EVERY[path].params if each.param_type_name == "argument" and not each.metavar]
    assert mute == []
    assert [each.name for each in EVERY[path].params if not getattr(each, "help", None)] == []


@pytest.fixture
def asked(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("LITGO_DATABASE_URL", database_url)
    monkeypatch.setenv("LITGO_HOME", str(tmp_path))
    return CliRunner()


CASE, CLIENT, LAWYER, CONTRACT = (str(UUID(int=n)) for n in range(1, 5))
WAITING = (
    f"INSERT INTO profiles (id, full_name) VALUES ('{CLIENT}', 'José \u202e\x1b[31m da Conceição')",
    f"INSERT INTO profiles (id, full_name) VALUES ('{LAWYER}', 'Ana')",
    f"INSERT INTO lawyers (id, name) VALUES ('{LAWYER}', 'Ana Brandão')",
    f"INSERT INTO cases (id, client_id, status) VALUES ('{CASE}', '{CLIENT}', 'pending_assignment')",
    f"INSERT INTO contracts (id, case_id, lawyer_id, client_id, status) VALUES ('{CONTRACT}', '{CASE}', '{LAWYER}', "
    f"'{CLIENT}', 'pending-signature')",
    "INSERT INTO litgo.contract_requests (contract_id, transaction_id, requested_at, status, due_at, method) "
    f"VALUES ('{CONTRACT}', '{CONTRACT}', now(), 'manual', now() - interval '1 day', 'manual')",
    "INSERT INTO litgo.matching_failures VALUES "
    f"('{CASE}', 3, 'x', '2026-03-01T05:00Z', '2026-03-01T06:00Z', '2026-03-02T05:00Z', true)",
    "INSERT INTO litgo.model_ledger (sequence, transition, transition_key, version, evidence, run_id) "
    "VALUES (1, 'candidate', 'x', '1', '{}', 'x')",
    f"INSERT INTO litgo.missed_subjects VALUES ('case', '{CASE}', now(), now(), 2)",
)


def test_what_a_program_reads_is_json_alone(asked: CliRunner, database_url: str) -> None:
    execute(database_url, *WAITING)

    def read(*arguments: str) -> Any:
        done = asked.invoke(app, [*arguments, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    (task,) = read("contrato", "tarefas")
    assert (task["client"], task["lawyer"], task["overdue"]) == (
        "José \u202e\x1b[31m da Conceição",
        "Ana Brandão",
        True,
    )
    assert datetime.fromisoformat(task["due_at"]).tzinfo is not None
    assert task["missing"] == ["client", "lawyer"]
    assert read("dead-letters")["cases"] == [
        {"case_id": CASE, "last_failed_at": "2026-03-01T06:00:00+00:00", "reason": "x"}
    ]
    assert [case["case_id"] for case in read("casos", "parados")] == [CASE]
    assert read("model", "show") == {
        "versions": [{"version": "1", "state": "candidate", "since_entry": 1}],
        "champion": None,
        "frozen": None,
        "unsealed": ["1"],
    }
    assert [(one["kind"], one["missing"]) for one in read("titular", "ausentes")] == [("case", 1)]
    assert read("triagem", "fila") == []
    assert read("experiment", "list") == []


def test_tasks_name_the_parties_to_people(asked: CliRunner, database_url: str) -> None:
    assert "nenhum contrato espera" in asked.invoke(app, ["contrato", "tarefas"]).stdout
    execute(database_url, *WAITING)
    shown = asked.invoke(app, ["contrato", "tarefas"]).stdout
    assert "da Conceição" in shown
    assert "Ana Brandão" in shown
    assert CONTRACT in shown
    assert "\x1b" not in shown


def test_values_keep_their_types(capsys: pytest.CaptureFixture[str]) -> None:
    given = {
        "at": datetime(2026, 3, 1, 5, tzinfo=UTC),
        "day": date(2026, 3, 1),
        "whole": Decimal("3"),
        "part": Decimal("0.5"),
        "none": math.nan,
        "endless": -math.inf,
        "id": UUID(int=1),
        "text": "ação\x9b\ufeff",
    }
    show(given, True, str)
    printed = capsys.readouterr().out
    assert "\x9b" not in printed
    assert "ação" in printed
    assert json.loads(printed) == {
        "at": "2026-03-01T05:00:00+00:00",
        "day": "2026-03-01",
        "whole": 3,
        "part": 0.5,
        "none": None,
        "endless": None,
        "id": str(UUID(int=1)),
        "text": "ação\x9b\ufeff",
    }


def test_the_version_is_the_packages() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"litgo {version('litgo_pipelines')}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_LITGO_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "litgo exper")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setenv("COMP_WORDS", "litgo exper")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert "experiment" in CliRunner().invoke(app, [], prog_name="litgo").output


def test_who_has_no_name_on_this_machine_may_decide_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 1_000_550_000)  # of a container that runs under any
    assert acting("Ana") == "Ana (shell: uid 1000550000)"
