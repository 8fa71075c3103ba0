"""The package alone: a wheel, installed beside nothing of the checkout, in a folder with nothing in it."""

import os
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.wheel import PACKAGE, ROOT, built, installed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.proof("litgo_pipelines", "benchmarks/wheel.py", "pyproject.toml"),
    pytest.mark.timeout(400),
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Short, for the embedded server's socket, and open to the server's own user."""
    with tempfile.TemporaryDirectory(prefix="litgo-wheel-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    return built(folder)


@pytest.fixture(scope="module")
def python(folder: Path, wheel: Path) -> Path:
    return installed(wheel, folder / "venv")


def run(python: Path, folder: Path, *arguments: str) -> str:
    """What a command says in an empty folder and environment."""
    place = folder / "empty"
    place.mkdir(exist_ok=True)
    environment = {"HOME": str(folder), "PATH": f"{python.parent}:{os.defpath}", "LANG": "C.UTF-8"}
    done = subprocess.run(arguments, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds_every_file_of_the_package(wheel: Path) -> None:
    tracked = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    assert {name for name in tracked if "__pycache__" not in name} <= names
    assert {name.split("/")[0] for name in names if not name.startswith("litgo_pipelines-")} == {"litgo_pipelines"}


def test_it_says_its_version_and_is_not_the_checkout(python: Path, folder: Path) -> None:
    assert run(python, folder, "litgo", "--version").startswith("litgo ")
    assert str(folder) in run(python, folder, "python", "-c", "import litgo_pipelines as it; print(it.__file__)")


def test_it_migrates_a_database_and_loads_its_definitions(python: Path, folder: Path) -> None:
    validate = ["python", "-m", "dagster", "definitions", "validate", "-m", "litgo_pipelines.definitions"]
    said = run(python, folder, "litgo", "exec", "--", *validate)
    assert "Validation successful" in said or "All code locations passed" in said, said
    assert (folder / "empty" / ".litgo" / "dagster" / "dagster.yaml").read_text().startswith("# Dagster's instance")
