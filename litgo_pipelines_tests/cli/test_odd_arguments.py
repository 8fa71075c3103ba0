"""What commands say to arguments that cannot be meant: a sentence and exit code 2, before anything is done."""

import os
import shlex
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from litgo_pipelines.cli import app
from litgo_pipelines.cli.platform import World
from litgo_pipelines.simulation.worlds import KINDS
from litgo_pipelines_tests.worlds.processes import litgo

pytestmark = pytest.mark.slow

ID = "00000000-0000-4000-8000-000000000001"
BY = "--who Ana --why porque"
PAPER = f"contrato assinar {ID} --partes both --por Ana"
DIGEST = "a" * 64
NUMBERS = ("abc", "-3", "1e9", "nan", "", "10000000000000000000000")


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No command gets as far as a database: there is no server, and no folder for one can be made."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LITGO_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        *(
            f"{command} {option} {n!r}"
            for command in ("demo", "simulate")
            for option in ("--lawyers",)
            for n in NUMBERS
        ),
        *(f"simulate {option} {n!r}" for option in ("--cases", "--days", "--seed") for n in NUMBERS),
        "simulate --world mars",
        "simulate --world ''",
        "simulate more",
        *(
            f"model {verb} {n!r} {BY}"
            for verb in ("promote", "rollback", "seal")
            for n in ("abc", "0", "1.5", " ", "9" * 20)
        ),
        f"model promote -- -7 {BY}",
        "model promote 7 --who ' ' --why porque",
        "model promote 7 --who Ana --why ''",
        "model promote 7 --who Ana --why a\udcff",
        f"triagem urgencia {ID} 5 --por Jo\udce3o",
        "model lift-freeze --who Ana",
        f"experiment start abc {BY}",
        *(f"experiment ramp {n!r} {BY}" for n in ("abc", "nan", "inf", "-inf", "1000", "100.1")),
        *(
            f"{command} {n!r}"
            for command in ("explain", "contrato pdf", "titular exportar", "titular apagar")
            for n in ("x", "", "7")
        ),
        *(f"triagem urgencia {ID} {n!r} --por Ana" for n in ("abc", "nan", "inf", "1", "721", "5,5")),
        "triagem urgencia x 5 --por Ana",
        f"triagem urgencia {ID} 5 --por ' '",
        "triagem decidir x Civil Contratos --por Ana",
        "triagem medir missing.csv",
        "triagem medir .",
        "triagem medir file",
        "triagem medir bytes",
        "triagem medir columns.csv",
        "triagem medir short.csv",
        *(
            f"{PAPER} --sha256 {DIGEST} --em {n!r}"
            for n in ("ontem", "2026-01-31T14:30:00", "2026-02-30T14:30:00-03:00", "")
        ),
        *(f"{PAPER} --em 2026-01-31T14:30:00-03:00 --sha256 {n!r}" for n in ("", "zz", DIGEST[1:], DIGEST + "a")),
        f"contrato assinar {ID} --partes all --em 2026-01-31T14:30:00-03:00 --por Ana --sha256 {DIGEST}",
        f"titular exportar {ID} --arquivo missing/file.json",
        f"titular exportar {ID} --arquivo .",
        "doctor --write-mapping missing/file.yaml",
        "doctor --write-mapping file",
        "exec",
        "exec no-such-program",
        "ui-user 'a b'",
        "nothing",
        "--nothing",
    ],
)
def test_a_value_that_cannot_be_meant_is_named(nowhere: Path, line: str) -> None:
    (nowhere / "bytes").write_bytes(b"\xff\xfe\x00")
    (nowhere / "columns.csv").write_text("a,b\n1,2\n")
    (nowhere / "short.csv").write_text("text,label,kind\numa frase\n")
    done = CliRunner().invoke(app, shlex.split(line))
    assert done.exit_code == 2, (done.exception, done.output)
    assert isinstance(done.exception, SystemExit)
    assert "Error" in done.stderr
    assert done.stdout == ""
    assert sorted(path.name for path in nowhere.iterdir()) == ["bytes", "columns.csv", "file", "short.csv"]


def test_every_world_can_be_asked_for() -> None:
    assert get_args(World) == tuple(KINDS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("backup", "/proc/nowhere"), "/proc/nowhere: "),
        (("backup", "/etc/hostname/folder"), "/etc/hostname/folder: "),
        (("restore", "/nowhere"), "/nowhere is no folder"),
        (("status",), ""),
    ],
)
def test_what_cannot_be_done_is_said_without_a_traceback(
    database_url: str, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    given = {"LITGO_DATABASE_URL": database_url, "LITGO_BACKUP_PASSPHRASE": "x" * 20, "NO_COLOR": "1", "COLUMNS": "30"}
    done = litgo(*arguments, environment={**os.environ, "LITGO_HOME": str(tmp_path / "home"), **given})
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert told in done.stderr
    assert "\x1b[" not in done.stdout + done.stderr
