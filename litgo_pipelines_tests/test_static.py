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


@pytest.mark.proof("litgo_pipelines", "litgo_pipelines_tests", "benchmarks", "pyproject.toml")
def test_the_types_are_consistent() -> None:
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dagster_loads_the_definitions() -> None:
    """As whoever types it in the checkout: without an instance, a database or MLflow."""
    nowhere = {"LITGO_DATABASE_URL": "none", "MLFLOW_TRACKING_URI": "none"}
    scripts = Path(sys.executable).parent
    environment = {name: value for name, value in os.environ.items() if name not in ("DAGSTER_HOME", "VIRTUAL_ENV")}
    environment |= {**nowhere, "PATH": f"{scripts}:{os.environ['PATH']}"}
    done = subprocess.run([scripts / "dg", "check", "defs"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
