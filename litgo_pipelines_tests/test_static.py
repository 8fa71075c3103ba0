"""What `make lint` does beside ruff, as tests: it works while others wait for servers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
]  # nothing is cached in a clean checkout


def run(*command: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_types_are_consistent() -> None:
    run("mypy")


def test_dagster_loads_the_workspace(tmp_path: Path) -> None:
    nowhere = {"LITGO_DATABASE_URL": "none", "MLFLOW_TRACKING_URI": "none"}
    run("dagster", "definitions", "validate", "-w", "workspace.yaml", DAGSTER_HOME=str(tmp_path), **nowhere)
